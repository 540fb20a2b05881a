//! What the owner hears of lanes: that the kernel cannot choose, and how much others were given.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use oneport_core::{LaneId, PortId};

use crate::event::Event;
use crate::primary::Primary;

/// Of what others were given it is told so often at most.
const PAUSE: Duration = Duration::from_secs(1);

/// Connections that were given to others, and not told yet.
#[derive(Debug, Default)]
pub(in crate::primary) struct Rescued {
    connections: BTreeMap<PortId, u32>,
    told: Option<Instant>,
}

impl Primary {
    /// Tells of the ports on which the kernel has turned out not to be able to choose.
    pub(in crate::primary) fn tell_fallen(&mut self) {
        for (port, cause) in std::mem::take(&mut self.lanes.fallen) {
            if let Some(address) = self.ports.get(&port).map(|socket| socket.address.clone()) {
                self.tell(Event::Weighed { address, cause });
            }
        }
    }

    /// Takes over what waits in a lane; what is taken from a worker that lives is counted.
    pub(in crate::primary) fn rescue_waiting(&mut self, lane: LaneId) {
        let before = self.next_conn;
        let tenant = self.lanes.tenant_of(lane);
        self.take_over(lane);
        let taken = u32::try_from(self.next_conn - before).unwrap_or(u32::MAX);
        if let Some((_, port)) = tenant.filter(|_| taken > 0) {
            *self.lanes.rescued.connections.entry(port).or_default() += taken;
            if self.lanes.rescued.told.is_none_or(|told| told.elapsed() >= PAUSE) {
                self.tell_rescued();
            }
        }
    }

    /// Tells what was not told yet.
    pub(in crate::primary) fn tell_rescued(&mut self) {
        for (port, connections) in std::mem::take(&mut self.lanes.rescued.connections) {
            self.lanes.rescued.told = Some(Instant::now());
            if let Some(address) = self.ports.get(&port).map(|socket| socket.address.clone()) {
                self.tell(Event::Rescued { address, connections });
            }
        }
    }
}

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
    /// Of whose worker it was just said that it makes no progress.
    pub(in crate::primary) from: Option<LaneId>,
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

    /// Takes over what waits in a lane; it is counted where its worker makes no progress.
    pub(in crate::primary) fn take_over_counted(&mut self, lane: LaneId) {
        let before = self.next_conn;
        self.take_over(lane);
        let taken = u32::try_from(self.next_conn - before).unwrap_or(u32::MAX);
        let stuck = self.lanes.rescued.from == Some(lane);
        if let Some(port) = self.lanes.port_of(lane).filter(|_| stuck && taken > 0) {
            *self.lanes.rescued.connections.entry(port).or_default() += taken;
        }
    }

    /// Tells of what others were given, unless that was told a moment ago.
    pub(in crate::primary) fn tell_rescued_in_time(&mut self) {
        let Rescued { connections, told, .. } = &self.lanes.rescued;
        if !connections.is_empty() && told.is_none_or(|told| told.elapsed() >= PAUSE) {
            self.tell_rescued();
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

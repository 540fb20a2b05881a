//! The keeper of a port's door: a socket of ours that gets whoever comes while nobody is chosen, and lets nobody in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use oneport_core::{LaneId, PortId};
use oneport_sys::caps::{Capability, Raised};
use oneport_sys::lane::make_beside;
use oneport_sys::listen::door::{listen_shut, shut_door};
use oneport_sys::listen::{inode, start_listening};
use tracing::debug;

use super::{Lane, LaneKind, Lanes};

impl Lanes {
    /// Before a stream joins that nobody may be sent to yet: a socket of ours is there first, and gets everybody.
    pub(in crate::primary) fn keep_door(&mut self, lane: LaneId) {
        let Some(model) = self.table.get(&lane).filter(|lane| lane.kind == LaneKind::Stream) else { return };
        let port = model.port;
        if self.groups.get(&port).is_some_and(|group| group.keeper.is_some()) {
            return;
        }
        let kept = make_beside(model.socket.as_fd()).and_then(|socket| self.hold(port, socket));
        if let Err(cause) = kept {
            // Then clients reach whoever listens, though nobody is chosen.
            debug!(%cause, "cannot keep the door of a port");
        }
    }

    /// A socket that is bound is there for a port as long as that is, and keeps its door.
    pub(in crate::primary) fn hold(&mut self, port: PortId, socket: OwnedFd) -> io::Result<()> {
        let inode = inode(socket.as_fd())?;
        let shut = {
            // A filter on a TCP socket needs it, where Linux asks for it.
            let _raised = Raised::new(&[Capability::NetAdmin]);
            shut_door(socket.as_fd())
        };
        match shut {
            Ok(()) => start_listening(socket.as_fd(), 1)?,
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => listen_shut(socket.as_fd())?,
            Err(cause) => return Err(cause),
        }
        let id = self.next_ghost();
        self.table.insert(id, Lane::new(socket, inode, port, None, None, LaneKind::Stream));
        let group = self.group_mut(port);
        group.keeper = Some(id);
        group.order.push(id);
        self.equip(port);
        self.seat_keeper(port, id);
        self.apply(port);
        Ok(())
    }
}

//! Messages of Socket.IO's cluster adapter between workers. They go through the primary, where the adapter's `setupPrimary()`
//! passes them on; `oneport run` is no Node program, and does it itself.
//!
//! The adapter sends answers to the one worker that asked. Here everybody else gets them too, and drops them: nobody has asked
//! for their number there (`@socket.io/cluster-adapter` 0.2 and 0.3).

use oneport::{Cluster, Message, WorkerId};
use serde::Deserialize;
use tracing::debug;

/// What its messages have as `source`.
const ADAPTER: &str = "_sio_adapter";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    source: Option<&'a str>,
}

/// Passes the message on to all other workers, if it is one of the adapter's.
pub(super) fn pass_on(cluster: &Cluster, from: WorkerId, message: &Message) {
    if !is_of_adapter(message.json()) {
        return;
    }
    for worker in cluster.workers().into_iter().filter(|worker| worker.id() != from) {
        if let Err(cause) = worker.send_json(message.json()) {
            // It is leaving, or has not read 16 MiB of such.
            debug!(%cause, worker = worker.id().0, "cannot pass a message on");
        }
    }
}

fn is_of_adapter(json: &str) -> bool {
    // Most messages are others, and need not be read. A list would be read as one, too.
    json.starts_with('{')
        && json.contains(ADAPTER)
        && serde_json::from_str::<Envelope<'_>>(json).is_ok_and(|envelope| envelope.source == Some(ADAPTER))
}

#[cfg(test)]
mod tests {
    use super::is_of_adapter;

    #[test]
    fn only_its_own_messages_are_the_adapters() {
        assert!(is_of_adapter(r#"{"source":"_sio_adapter","type":3,"data":{"packet":{}}}"#));
        assert!(is_of_adapter(r#"{"uid":"x","nsp":"/","source":"_sio_adapter"}"#));
        for other in [
            r#"{"source":"mine","text":"_sio_adapter"}"#,
            r#"{"data":{"source":"_sio_adapter"}}"#,
            r#"["_sio_adapter"]"#,
            r#""_sio_adapter""#,
            r#"{"source":["_sio_adapter"]}"#,
            "",
        ] {
            assert!(!is_of_adapter(other), "{other}");
        }
    }
}

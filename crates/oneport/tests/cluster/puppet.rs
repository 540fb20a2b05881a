//! Worker programs that any test may use: `serve`, which listens and answers, and `puppet`, which does what its test
//! tells it, one order after the other.

use oneport::TcpListener;
use tokio::io::AsyncWriteExt;

use crate::harness::{TestLine, programs};

programs! { serve, puppet }

/// Listens on a port of the kernel's choice and answers each connection with the worker's number and slot.
pub(crate) async fn serve() {
    answer(TcpListener::bind("127.0.0.1:0").await.unwrap()).await;
}

/// Orders: `listen ADDRESS` (answers where, or the kind of the error), `exit CODE`, `abort`, `spin` (for ever),
/// `variable NAME`, `directory`, `arguments`. Ends when the test does.
async fn puppet() {
    let mut line = TestLine::open();
    while let Some(order) = line.order().await {
        let (verb, object) = order.split_once(' ').unwrap_or((&order, ""));
        match verb {
            "listen" => match TcpListener::bind(object).await {
                Ok(listener) => {
                    line.tell(listener.local_addr().unwrap()).await;
                    tokio::spawn(answer(listener));
                }
                Err(error) => line.tell(format!("{:?}", error.kind())).await,
            },
            "exit" => std::process::exit(object.parse().unwrap()),
            "abort" => std::process::abort(),
            "spin" => {
                line.tell("spinning").await;
                loop {
                    std::hint::spin_loop();
                }
            }
            "variable" => line.tell(format!("{:?}", std::env::var(object).ok())).await,
            "directory" => line.tell(std::env::current_dir().unwrap().display()).await,
            "arguments" => line.tell(std::env::args().skip(1).collect::<Vec<_>>().join(" ")).await,
            _ => panic!("no order is called {verb}"),
        }
    }
}

/// Answers every connection, until there are no more to come.
pub(crate) async fn answer(listener: TcpListener) {
    let worker = oneport::worker().unwrap();
    let text = format!("{} {}", worker.id().0, worker.slot().map_or(-1, |slot| i64::from(slot.0)));
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.write_all(text.as_bytes()).await;
    }
}

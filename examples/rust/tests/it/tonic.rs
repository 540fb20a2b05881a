//! `tonic`: health checks over the wire, and calls that outlive the time of their worker.

use std::future::Future;
use std::net::SocketAddr;

use oneport_e2e::Run;
use oneport_e2e::Signal;
use oneport_e2e::run::client_patience;
use oneport_e2e::wait::eventually;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::started::{connections, start};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tonic");

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(client_patience(), test).await.expect("an answer in time") })
}

async fn connect(address: SocketAddr) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

async fn check(client: &mut HealthClient<Channel>) -> ServingStatus {
    let answer = client.check(HealthCheckRequest { service: String::new() }).await.unwrap();
    answer.into_inner().status()
}

#[test]
fn alone_it_says_that_it_serves() {
    let example = start(PROGRAM);
    let address = example.address();
    run(async {
        let mut client = connect(address).await;
        assert_eq!(check(&mut client).await, ServingStatus::Serving);
        let unknown = client.check(HealthCheckRequest { service: "nobody".into() }).await;
        assert_eq!(unknown.unwrap_err().code(), tonic::Code::NotFound);
    });
    example.signal(Signal::TERM);
    example.ended();
}

#[test]
fn clients_are_spread_over_the_workers() {
    let app = Run::target([PROGRAM]).instances(2).start();
    let address = app.serving(2);
    run(async {
        let mut clients = [connect(address).await, connect(address).await];
        for client in &mut clients {
            assert_eq!(check(client).await, ServingStatus::Serving);
        }
        for worker in app.workers().into_values() {
            assert_eq!(connections(worker, address.port()).len(), 1);
        }
    });
    app.stop();
}

#[test]
fn a_reload_tells_those_who_watch_and_their_next_call_is_answered_by_a_new_worker() {
    let app = Run::target([PROGRAM]).instances(1).start();
    let address = app.serving(1);
    let old = app.worker(0);
    run(async {
        let mut client = connect(address).await;
        let request = HealthCheckRequest { service: String::new() };
        let mut watched = client.watch(request).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        app.signal(Signal::HUP);
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        // The old worker ends with its last call, and not before.
        assert_eq!(connections(old, address.port()).len(), 1);
        drop(watched);
        assert_eq!(check(&mut connect(address).await).await, ServingStatus::Serving);
    });
    app.wait_for("the old one to leave", |event| event.is("died") && event.of(old));
    eventually("one worker", || (app.workers().len() == 1).then_some(()));
    assert_eq!(app.stop().all("died").len(), 2);
}

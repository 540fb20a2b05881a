//! Programs without a channel as workers: this binary again, as a server that knows nothing of a cluster.

mod acts;
mod harness;
mod sharing;

#[test]
fn is_the_program() {
    acts::play();
}

//! The clock counts from boot and never backwards.

use oneport_sys::clock::boot_time;

#[test]
fn it_agrees_with_the_uptime_of_the_machine() {
    let uptime = || -> f64 {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    let before = uptime();
    let now = boot_time() as f64 / 1e9;
    let after = uptime();
    // /proc/uptime is cut to hundredths.
    assert!(before - 0.02 <= now && now <= after + 0.02, "{before} <= {now} <= {after}");
}

#[test]
fn it_does_not_go_backwards() {
    let mut last = boot_time();
    for _ in 0..1000 {
        let now = boot_time();
        assert!(now >= last);
        last = now;
    }
}

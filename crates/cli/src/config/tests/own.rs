//! `oneport.toml`.

use oneport_wire::control::{Instances, LogRotate};

use super::*;

#[test]
fn apps_are_read_with_what_holds_for_all() {
    let dir = Dir::new();
    dir.file("server.js", "");
    let text = r#"
[defaults]
instances = 2
kill_timeout = "3s"
env = { A = "common", B = "common", E = "common" }
env_production = { C = "common", D = "common" }
log_rotate = { keep = 3, max_size = "1M" }

[[app]]
script = "server.js"
minUptime = "2s"
[app.env]
B = 1
[app.env_production]
D = true
E = 1.5
[app.log_rotate]
keep = 5

[[app]]
name = "api"
script = "gunicorn"
cwd = "api"
args = "x --bind 8000"
instances = "max"
"#;
    let how = Reading { env: Some("production".to_owned()), ..Reading::default() };
    let loaded = dir.read("oneport.toml", text, &how).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.file, Some(dir.path().join("oneport.toml")));
    let [web, api] = loaded.apps.as_slice() else { panic!("two apps") };
    let env: Vec<_> = web.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=common", "B=1", "C=common", "D=true", "E=1.5"]);
    assert_eq!(web.name, "server");
    assert_eq!(web.script, dir.path().join("server.js").to_str().unwrap());
    assert_eq!(web.cwd.as_deref(), dir.path().to_str());
    assert_eq!((web.instances, web.min_uptime.unwrap().0), (Instances::Exactly(2), 2000));
    let rotate = LogRotate { keep: Some(5), ..web.log_rotate.unwrap() };
    assert_eq!(web.log_rotate, Some(rotate));
    assert_eq!(rotate.max_size.unwrap().0, 1 << 20);
    // A command is looked up in PATH, so it stays as it is.
    assert_eq!((api.script.as_str(), api.instances), ("gunicorn", Instances::PerCpu));
    assert_eq!(api.cwd.as_deref(), dir.path().join("api").to_str());
    assert_eq!(api.args, ["x", "--bind", "8000"]);
}

#[test]
fn one_app_may_stand_alone() {
    let (app, _) = one("oneport.toml", "[app]\nscript = 'x.py'\nwatch = ['lib', '/etc/x']\n");
    assert_eq!(app.name, "x");
    let cwd = app.cwd.unwrap();
    assert_eq!(
        app.watch,
        oneport_wire::control::Watch::Paths(vec![format!("{cwd}/lib"), "/etc/x".to_owned()])
    );
}

#[test]
fn a_block_that_no_app_has_is_told_of() {
    let dir = Dir::new();
    let how = Reading { env: Some("prodution".to_owned()), ..Reading::default() };
    let loaded = dir.read("oneport.toml", "[app]\nscript = 'x'\nenv_production = {}\n", &how).unwrap();
    assert_eq!(loaded.warnings, ["no app has a block `env_prodution`: did you mean `production`?"]);
}

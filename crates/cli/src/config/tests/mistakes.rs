//! How mistakes are told. The whole of what a person sees stands in `snapshots/mistakes.snap`.

use std::fmt::Write as _;

use super::*;

const MISTAKES: &[(&str, &str, &str)] = &[
    ("syntax, TOML", "oneport.toml", "[[app]]\nname = \"web\nscript = \"x\"\n"),
    ("syntax, TOML: a word without quotes", "oneport.toml", "[[app]]\nscript = server.js\n"),
    ("syntax, JSON", "x.json", "{\n  apps: [\n    { script: 'x' }\n    { script: 'y' }\n  ]\n}\n"),
    ("syntax, JSON: not closed", "x.json", "{\n  apps: [{ script: 'x' }\n"),
    ("syntax, JSON: an expression", "x.json", "{ apps: [{ script: 'x', instances: os.cpus() }] }"),
    ("syntax, YAML", "x.yml", "apps:\n  - name: web\n    script: 'x\n  - name: y\n"),
    ("syntax, YAML: indentation", "x.yml", "apps:\n  - name: web\n   script: x\n"),
    ("wrong type, TOML", "oneport.toml", "[[app]]\nscript = \"x\"\nwait_ready = \"yes\"\n"),
    ("wrong type, JSON", "x.json", "{apps: [{script: 'x', max_restarts: [1]}]}"),
    ("wrong type, YAML", "x.yml", "apps:\n- script: x\n  args: {a: 1}\n"),
    ("a number for a text, TOML", "oneport.toml", "[[app]]\nscript = \"x\"\nname = 8080\n"),
    ("unknown key", "oneport.toml", "[[app]]\nscript = \"x\"\n\tinstanses = 2\n"),
    ("unknown key, far from any", "oneport.toml", "[[app]]\nscript = \"x\"\ncolour = 2\n"),
    ("unknown key of a table", "oneport.toml", "[app]\nscript = \"x\"\n[app.log_rotate]\nmax_sise = 1\n"),
    ("PM2's name for a key", "oneport.toml", "[app]\ncmd = \"x\"\n"),
    ("a key that only PM2 has", "oneport.toml", "[app]\nscript = \"x\"\nvizion = false\n"),
    ("unknown section", "oneport.toml", "[[apps]]\nscript = \"x\"\n"),
    ("a key outside of any app", "oneport.toml", "script = \"x\"\n"),
    ("a key in two cases", "oneport.toml", "[app]\nscript = \"x\"\nmax_restarts = 1\nmaxRestarts = 2\n"),
    ("missing script, TOML", "oneport.toml", "[[app]]\nscript = \"a\"\n\n[[app]]\nname = \"web\"\n"),
    ("missing script, JSON", "x.json", "[\n  { script: 'a' },\n  { scirpt: 'b' }\n]"),
    ("no script at all", "x.json", "{ nmae: 'web', scirpt: 'x' }"),
    ("a package without apps", "package.json", "{ \"name\": \"shop\", \"version\": \"1.0.0\" }"),
    (
        "duplicate name",
        "oneport.toml",
        "[[app]]\nname = \"web\"\nscript = \"a\"\n[[app]]\nname = \"web\"\nscript = \"b\"\n",
    ),
    ("duplicate name by default", "x.yml", "- script: a/server.js\n- script: b/server.js\n"),
    ("name that means all", "x.json", "{name: 'all', script: 'x'}"),
    ("bad instances", "oneport.toml", "[[app]]\nscript = \"x\"\ninstances = \"many\"\n"),
    ("bad instances: too many", "x.json", "{script: 'x', instances: 5000}"),
    ("bad instances: a part", "x.json", "{script: 'x', instances: 1.5}"),
    ("bad time", "oneport.toml", "[[app]]\nscript = \"x\"\nkill_timeout = \"1d\"\n"),
    ("bad time: below zero", "x.json", "{script: 'x', min_uptime: -1}"),
    ("bad size", "x.yml", "script: x\nmax_memory_restart: 300X\n"),
    ("bad signal", "oneport.toml", "[[app]]\nscript = \"x\"\nstop_signal = \"SIGTREM\"\n"),
    ("bad schedule: fields", "x.json", "{script: 'x', cron: '* * *'}"),
    ("bad schedule: letters", "oneport.toml", "[[app]]\nscript = \"x\"\ncron_restart = \"0 4 * * $\"\n"),
    ("bad port", "oneport.toml", "[[app]]\nscript = \"x\"\nport = 70000\n"),
    ("bad ports", "oneport.toml", "[[app]]\nscript = \"x\"\nports = \"80, https\"\n"),
    ("bad word", "x.json", "{script: 'x', exec_mode: 'clutser'}"),
    ("bad policy", "oneport.toml", "[[app]]\nscript = \"x\"\npolicy = \"last\"\n"),
    ("bad variable", "oneport.toml", "[app]\nscript = \"x\"\n[app.env]\nA = [1, 2]\n"),
    ("bad name of a variable", "x.json", "{script: 'x', env: {'A=B': 1}}"),
    ("NUL byte", "x.json", "{script: 'x\\u0000y'}"),
    ("no apps, TOML", "oneport.toml", "# nothing yet\n"),
    ("no apps, JSON", "x.json", "{apps: []}"),
    ("no apps, YAML", "x.yml", "apps:\n"),
    ("an app that is none", "x.json", "{apps: ['server.js']}"),
    ("a text for all", "x.yml", "just words\n"),
    ("empty file", "x.json", ""),
    (
        "a line of many letters",
        "x.json",
        concat!(
            "{a1:1,a2:1,a3:1,a4:1,a5:1,a6:1,a7:1,a8:1,a9:1,a0:1,a1:1,a2:1,a3:1,a4:1,a5:1,a6:1,a7:1,a8:1,",
            "script:'x',instances:'many',b1:1,b2:1,b3:1,b4:1,b5:1,b6:1,b7:1,b8:1,b9:1,b0:1,b1:1,b2:1,b3:1}"
        ),
    ),
    (
        "letters that a terminal would act on",
        "x.yml",
        "script: x\n\u{9b}31m\u{202e}: \"\\e]0;x\\a\"\ninstances: [\"\\e[31m\"] # \u{202e}\n",
    ),
    (
        "letters of more than one byte",
        "x.yml",
        "name: \"gr\u{fc}n\u{1f600}\"\n\u{e4}: 1 \nscript: {\u{fc}: 1}\n",
    ),
];

#[test]
fn mistakes_are_told_with_their_place_and_a_remedy() {
    let dir = Dir::new();
    let mut all = String::new();
    for (title, name, text) in MISTAKES {
        let told = dir.read(name, text, &Reading::default()).expect_err(title);
        writeln!(all, "== {title}\n{told}\n").unwrap();
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("mistakes", all);
    });
}

#[test]
fn what_cannot_be_read_says_why() {
    let dir = Dir::new();
    let how = Reading::default();
    let failed = |path: &Path| dir.plain(&told(&read(path, &how).unwrap_err()));
    assert_eq!(failed(&dir.path().join("x.json")), "error: cannot read `x.json`: no such file or directory");
    dir.file("oneport.toml", "");
    assert_eq!(
        failed(&dir.path().join("x.json")),
        "error: cannot read `x.json`: no such file or directory\n hint: there is `oneport.toml` in that directory"
    );
    std::fs::create_dir(dir.path().join("d.json")).unwrap();
    assert_eq!(failed(&dir.path().join("d.json")), "error: cannot read `d.json`: it is a directory");
    let endless = dir.path().join("l.json");
    std::os::unix::fs::symlink(&endless, &endless).unwrap();
    assert!(failed(&endless).starts_with("error: cannot read `l.json`: too many levels of symbolic links"));
    let device = dir.path().join("zero.json");
    std::os::unix::fs::symlink("/dev/zero", &device).unwrap();
    assert_eq!(failed(&device), "error: cannot read `zero.json`: it is not a regular file");
    assert_eq!(
        failed(&dir.file("large.yml", " ".repeat(LARGEST + 1))),
        "error: cannot read `large.yml`: it is larger than 1 MiB"
    );
    assert_eq!(
        failed(&dir.file("latin.toml", b"# x\n# gr\xfcn")),
        "error: cannot read `latin.toml`: it is not UTF-8: byte 0xfc in line 2"
    );
    assert!(failed(&dir.file("x.txt", "")).contains("its name is not that of a configuration"));
}

#[test]
fn a_file_that_is_not_ours_to_read_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let path = dir.file("x.json", "{script: 'x'}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything.
    match read(&path, &Reading::default()) {
        Ok(_) => assert!(rustix::process::geteuid().is_root()),
        Err(failure) => {
            assert_eq!(dir.plain(&told(&failure)), "error: cannot read `x.json`: permission denied");
        }
    }
}

#[test]
fn the_largest_files_are_read_in_bounded_time_and_space() {
    let dir = Dir::new();
    let how = Reading::default();
    let pad = |text: &str, with: &str| {
        let n = (LARGEST - text.len() - 2) / with.len();
        text.replace("...", &with.repeat(n))
    };
    let json = dir.read("x.json", pad("[{script: 'x', ...}]", "a:1,"), &how).unwrap();
    assert!(json.warnings.len() < 30);
    assert!(
        dir.read("x.json", pad("[...]", "{script:'x'},"), &how).unwrap_err().contains("more than 1000 apps")
    );
    assert!(dir.read("x.yml", pad("script: x\nenv: {...}\n", "a: 1, "), &how).is_ok());
    assert!(dir.read("x.yml", pad("script: x\nenv:\n...", "  \u{fc}: 1\n"), &how).is_ok());
    let defaults = format!("{}[[app]]\nscript='x'\n", "[[app]]\nscript='x'\nname='y'\n".repeat(100));
    let text = format!("[defaults]\nargs = '{}'\n{defaults}", "x".repeat(LARGEST / 2));
    assert!(dir.read("oneport.toml", text, &how).unwrap_err().contains("too large for so many apps"));
}

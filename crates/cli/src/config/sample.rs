//! What `oneport init` writes.

/// A commented `oneport.toml`.
pub(crate) const TOML: &str = r#"# The apps of this directory. `oneport start` reads this file; docs/configuration.md explains every key.

# What is said here holds for every app that does not say otherwise.
[defaults]
max_memory_restart = "500M"

[[app]]
name = "web"
script = "server.js"       # relative to this file
instances = "max"          # one worker per CPU, all behind one port
listen_timeout = "10s"     # a worker that takes longer to be ready makes a reload stop, and the old ones serve on
# policy = "least"         # the worker with the fewest open connections gets the next one

[app.env]
PORT = 3000

[app.env_production]       # with --env production
NODE_ENV = "production"

# Any program can be an app, in any language:
# [[app]]
# name = "api"
# script = "gunicorn"
# args = "shop.wsgi --bind 127.0.0.1:8000"
# instances = 4

# And one that has no port:
# [[app]]
# name = "mailer"
# script = "mailer.py"
# cron_restart = "0 4 * * *"
"#;

/// The same for those who stay with PM2's format.
pub(crate) const ECOSYSTEM: &str = r#"// Apps for oneport, in the format that PM2 reads, too.
module.exports = {
  apps: [
    {
      name: "web",
      script: "server.js",
      instances: "max", // workers: a number, or one for each CPU
      max_memory_restart: "500M",
      env: { PORT: 3000 },
      // These are added by: oneport start --env production
      env_production: { NODE_ENV: "production" },
    },
  ],
};
"#;

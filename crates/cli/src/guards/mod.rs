mod cron;
mod memory;

mod files;
mod lines;
mod rotation;
mod trouble;

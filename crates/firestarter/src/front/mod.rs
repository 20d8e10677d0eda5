//! Other programs' command lines, as front ends: each makes a configuration of its own words, and `start` runs it as any
//! other. Called by `main`. There is no second engine here: nothing in this room spawns, restarts or signals a worker.

pub(crate) mod einhorn;

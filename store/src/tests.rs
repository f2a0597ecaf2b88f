//! The store as a whole. What one file promises alone is tested beside it.

mod concurrency;
mod convergence;
mod model;
mod restore;
mod world;

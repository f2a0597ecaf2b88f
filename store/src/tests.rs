//! The store as a whole. What one file promises alone is tested beside it.

mod append;
mod concurrency;
mod convergence;
mod damage;
mod disk;
mod family;
mod floor;
mod held;
mod limits;
mod model;
pub(crate) mod platter;
mod power;
mod queue;
mod resolve;
mod restore;
mod rights;
mod rules;
mod trash;
pub(crate) mod world;

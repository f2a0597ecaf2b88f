//! The store as a whole. What one file promises alone is tested beside it.

mod concurrency;
mod convergence;
mod damage;
mod disk;
mod limits;
mod model;
pub(crate) mod platter;
mod power;
mod restore;
pub(crate) mod world;

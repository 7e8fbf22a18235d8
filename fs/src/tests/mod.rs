//! Store, catalog and views as a whole, against a plain model; crashes at every step; damage.

mod archives;
mod crash;
mod damage;
pub mod fixture;
mod grace;
mod keep;
mod model;
mod usage;

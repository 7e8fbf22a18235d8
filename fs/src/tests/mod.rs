//! Store, catalog and views as a whole, against a plain model; crashes and failures at every step; damage.

mod archives;
mod crash;
mod damage;
mod faults;
pub mod fixture;
mod grace;
mod model;
mod pins;
mod usage;

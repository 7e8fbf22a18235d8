//! Processes that are killed.

pub mod damage;
pub mod endurance;
pub mod events;
pub mod hang;
pub mod kill;
pub mod matrix;
pub mod orphans;
pub mod restart;
pub mod service;
pub mod soak;
pub mod stuck;
pub mod succession;
pub mod unserved;
pub mod upgrade;

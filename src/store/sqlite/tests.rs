//! The store on a disk, promise by promise. `model_test` has what every store promises.

mod crash;
mod damage;
mod full;
mod last;
mod names;
mod opening;
mod order;
mod reading;
mod restart;
mod retention;
pub(in crate::store) mod support;

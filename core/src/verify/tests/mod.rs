//! Examination and repair of directories on a test disk.

mod damage;
mod recover;
mod repair;
mod rig;

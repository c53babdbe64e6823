//! Examination and repair of directories on a test disk.

mod damage;
mod repair;
mod rig;

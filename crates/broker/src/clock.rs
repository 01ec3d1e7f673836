//! The daemon's clocks: the wall clock, the boot-time clock, and sleeping until a wall-clock time.

mod set_watch;
mod sleep;
mod time;
#[cfg(target_os = "linux")]
mod wall_timer;

pub(crate) use self::sleep::run_timer;
pub use self::time::now;
pub(crate) use self::{
    set_watch::SetWatch,
    sleep::sleep_until,
    time::{Wake, uptime},
};

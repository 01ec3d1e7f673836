//! One timer for every sleeper, on the boot-time clock (`timerfd_create(2)`, `CLOCK_BOOTTIME`),
//! which continues during suspend. A second timer, on the wall clock, fires when the clock was set
//! or the machine was suspended (`TFD_TIMER_CANCEL_ON_SET`). Neither wakes an idle process.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use rustix::{
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Notify, oneshot},
};

use super::time::{Wake, uptime};

/// The timer of this process, if it has one.
static TIMER: OnceLock<Arc<WallTimer>> = OnceLock::new();

#[derive(Default)]
struct WallTimer {
    /// By deadline on the boot-time clock and id.
    sleepers: Mutex<BTreeMap<(SignedDuration, u64), oneshot::Sender<Wake>>>,
    ids: AtomicU64,
    changed: Notify,
    /// Whether a system timer has failed.
    broken: AtomicBool,
}

/// A registered sleeper; removed when dropped.
struct Sleeper {
    timer: Arc<WallTimer>,
    key: (SignedDuration, u64),
}

/// Runs the timer; called once. Returns at once if the system has no such timers.
pub(super) async fn run() {
    let Some((deadlines, clock_set)) = timers() else { return };
    let timer = TIMER.get_or_init(Arc::default).clone();
    loop {
        let next = timer.sleepers().keys().next().map(|(at, _)| *at);
        // A deadline in the past fires at once.
        if arm(deadlines.get_ref(), next).is_err() {
            return timer.fail();
        }
        tokio::select! {
            () = timer.changed.notified() => {}
            ready = deadlines.readable() => {
                let Ok(mut ready) = ready else { return timer.fail() };
                // The read fails only if the timer was armed again since it fired.
                let _ = rustix::io::read(deadlines.get_ref(), &mut [0; 8]);
                ready.clear_ready();
                timer.wake(uptime(), Wake::Deadline);
            }
            ready = clock_set.readable() => {
                let Ok(mut ready) = ready else { return timer.fail() };
                let _ = rustix::io::read(clock_set.get_ref(), &mut [0; 8]);
                ready.clear_ready();
                timer.wake(SignedDuration::MAX, Wake::ClockJump);
                if watch_for_set(clock_set.get_ref()).is_err() {
                    return timer.fail();
                }
            }
        }
    }
}

/// The timer of the deadlines, and the timer that detects a set clock. `None` if the system has
/// none.
fn timers() -> Option<(AsyncFd<OwnedFd>, AsyncFd<OwnedFd>)> {
    let timer = |clock| {
        let timer = timerfd_create(clock, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK).ok()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for descriptors that are not owned; this one is"
        )]
        AsyncFd::with_interest(timer, Interest::READABLE).ok()
    };
    let (deadlines, clock_set) = (timer(TimerfdClockId::Boottime)?, timer(TimerfdClockId::Realtime)?);
    // Some kernels have the timer but not its cancellation.
    watch_for_set(clock_set.get_ref()).ok()?;
    Some((deadlines, clock_set))
}

/// Sleeps. `None` without a working timer.
pub(super) async fn sleep(time: Duration) -> Option<Wake> {
    let timer = TIMER.get().filter(|timer| !timer.broken.load(Ordering::Relaxed))?.clone();
    let (sender, woken) = oneshot::channel();
    let at = uptime().saturating_add(SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX));
    let sleeper = Sleeper { key: (at, timer.ids.fetch_add(1, Ordering::Relaxed)), timer };
    sleeper.timer.sleepers().insert(sleeper.key, sender);
    sleeper.timer.changed.notify_one();
    woken.await.ok()
}

impl WallTimer {
    fn sleepers(&self) -> MutexGuard<'_, BTreeMap<(SignedDuration, u64), oneshot::Sender<Wake>>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the sleepers up to this deadline.
    fn wake(&self, until: SignedDuration, wake: Wake) {
        let mut sleepers = self.sleepers();
        let later = sleepers.split_off(&(until, u64::MAX));
        for sleeper in std::mem::replace(&mut *sleepers, later).into_values() {
            // The receiver of a cancelled sleep is gone.
            sleeper.send(wake).ok();
        }
    }

    /// Ends every sleep after a fault of a timer. Sleepers then use tokio's timer.
    fn fail(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.sleepers().clear();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.timer.sleepers().remove(&self.key);
    }
}

/// Sets the timer to fire at this uptime; never without one.
fn arm(timer: &OwnedFd, at: Option<SignedDuration>) -> Result<(), Errno> {
    // Zero disarms the timer.
    let at = at.map_or(Timespec { tv_sec: 0, tv_nsec: 0 }, |at| Timespec {
        tv_sec: at.as_secs().max(0),
        tv_nsec: i64::from(at.subsec_nanos()).max(1),
    });
    set_time(timer, TimerfdTimerFlags::ABSTIME, at)
}

/// Arms a timer that is cancelled when the wall clock is set. The call itself reports a set before
/// it.
fn watch_for_set(timer: &OwnedFd) -> Result<(), Errno> {
    const FAR: Timespec = Timespec { tv_sec: 1 << 33, tv_nsec: 0 };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    match set_time(timer, flags, FAR) {
        Err(Errno::CANCELED) => Ok(()),
        set => set,
    }
}

fn set_time(timer: &OwnedFd, flags: TimerfdTimerFlags, at: Timespec) -> Result<(), Errno> {
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
    timerfd_settime(timer, flags, &once).map(drop)
}

//! One timer for every sleeper. It counts the time since the machine was started, suspend included
//! (`timerfd_create(2)`, `CLOCK_BOOTTIME`). A second timer, of the wall clock, tells that the clock was set or that the
//! machine was suspended (`TFD_TIMER_CANCEL_ON_SET`). Neither wakes a process that has nothing to do.

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

/// The sleepers, by the uptime at which each is woken.
#[derive(Default)]
struct WallTimer {
    sleepers: Mutex<BTreeMap<(SignedDuration, u64), oneshot::Sender<Wake>>>,
    ids: AtomicU64,
    changed: Notify,
    /// A timer is broken.
    broken: AtomicBool,
}

/// A sleeper among the sleepers, given back when dropped.
struct Sleeper {
    timer: Arc<WallTimer>,
    key: (SignedDuration, u64),
}

/// Sets the timer up, and runs it for as long as the daemon runs; returns at once where the system has no such timers.
/// To be called once.
pub(super) async fn run() {
    let Some((deadlines, set)) = timers() else { return };
    let timer = TIMER.get_or_init(Arc::default).clone();
    loop {
        let next = timer.sleepers().keys().next().map(|(at, _)| *at);
        // A time that is past rings at once.
        if arm(deadlines.get_ref(), next).is_err() {
            return timer.end();
        }
        tokio::select! {
            () = timer.changed.notified() => {}
            ready = deadlines.readable() => {
                let Ok(mut ready) = ready else { return timer.end() };
                // An error only means that arming the timer again took this ring back.
                let _ = rustix::io::read(deadlines.get_ref(), &mut [0; 8]);
                ready.clear_ready();
                let now = uptime();
                timer.wake(|at| (at <= now).then_some(Wake::Deadline));
            }
            ready = set.readable() => {
                let Ok(mut ready) = ready else { return timer.end() };
                let _ = rustix::io::read(set.get_ref(), &mut [0; 8]);
                ready.clear_ready();
                timer.wake(|_| Some(Wake::ClockJump));
                if watch_for_set(set.get_ref()).is_err() {
                    return timer.end();
                }
            }
        }
    }
}

/// The timer of the deadlines, and the one that tells of a clock that was set.
fn timers() -> Option<(AsyncFd<OwnedFd>, AsyncFd<OwnedFd>)> {
    let timer = |clock| {
        let timer = timerfd_create(clock, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK).ok()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for descriptors that are not owned; this one is"
        )]
        AsyncFd::with_interest(timer, Interest::READABLE).ok()
    };
    let (deadlines, set) = (timer(TimerfdClockId::Boottime)?, timer(TimerfdClockId::Realtime)?);
    // Some kernels know the timer, and not that it can be cancelled.
    watch_for_set(set.get_ref()).ok()?;
    Some((deadlines, set))
}

/// Sleeps for a time, if there is an timer.
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

    /// Wakes the sleepers that there is a reason for.
    fn wake(&self, reason: impl Fn(SignedDuration) -> Option<Wake>) {
        let mut sleepers = self.sleepers();
        let woken: Vec<_> = sleepers.keys().copied().filter(|(at, _)| reason(*at).is_some()).collect();
        for key in woken {
            if let (Some(sleeper), Some(wake)) = (sleepers.remove(&key), reason(key.0)) {
                // A sleeper that has turned away meanwhile misses nothing.
                sleeper.send(wake).ok();
            }
        }
    }

    /// Without its timers every sleeper sleeps in slices.
    fn end(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.sleepers().clear();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.timer.sleepers().remove(&self.key);
    }
}

/// Rings at this uptime; never, without one.
fn arm(timer: &OwnedFd, at: Option<SignedDuration>) -> Result<(), Errno> {
    // A time of zero switches the timer off.
    let at = at.map_or(Timespec { tv_sec: 0, tv_nsec: 0 }, |at| Timespec {
        tv_sec: at.as_secs().max(0),
        tv_nsec: i64::from(at.subsec_nanos()).max(1),
    });
    set_time(timer, TimerfdTimerFlags::ABSTIME, at)
}

/// Is cancelled when the wall clock is set. What was set before this call is told by the call itself.
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

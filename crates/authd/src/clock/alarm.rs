//! One timer of the wall clock for all who sleep by it (`timerfd_create(2)`, `TFD_TIMER_CANCEL_ON_SET`):
//! it counts through suspend, says so when the clock is set, and wakes nobody who has nothing to do.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
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

use super::{Slept, now};

/// The alarm of this process, if it has one.
static ALARM: OnceLock<Arc<Alarm>> = OnceLock::new();

/// Who sleeps, and until when.
#[derive(Default)]
struct Alarm {
    sleepers: Mutex<BTreeMap<(Timestamp, u64), oneshot::Sender<Slept>>>,
    names: AtomicU64,
    changed: Notify,
    /// The timer is broken.
    over: AtomicBool,
}

/// A place among the sleepers, given back when its sleeper turns away.
struct Place {
    alarm: Arc<Alarm>,
    key: (Timestamp, u64),
}

/// Sets the alarm up, and answers for as long as the daemon runs; at once, where the system has no such
/// timer. To be called once.
pub(crate) async fn keep() {
    let Ok(timer) = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
    else {
        return;
    };
    // Some kernels know the timer, and not that it can be cancelled.
    if set(&timer, None).is_err() {
        return;
    }
    #[expect(deprecated, reason = "its successor is unsafe for descriptors that are not owned; this one is")]
    let Ok(timer) = AsyncFd::with_interest(timer, Interest::READABLE) else {
        return;
    };
    let alarm = ALARM.get_or_init(Arc::default).clone();
    loop {
        let next = alarm.sleepers().keys().next().map(|(at, _)| *at);
        // A clock that was set since the last look is told here already.
        if set(timer.get_ref(), next) == Err(Errno::CANCELED) {
            alarm.wake(|_| Some(Slept::Woke));
        }
        tokio::select! {
            () = alarm.changed.notified() => {}
            ready = timer.readable() => {
                let Ok(mut ready) = ready else {
                    // Without it, everybody sleeps in slices.
                    alarm.over.store(true, Ordering::Relaxed);
                    alarm.sleepers().clear();
                    return;
                };
                let read = rustix::io::read(timer.get_ref(), &mut [0; 8]);
                ready.clear_ready();
                let now = now();
                if read == Err(Errno::CANCELED) {
                    alarm.wake(|_| Some(Slept::Woke));
                } else {
                    alarm.wake(|at| (at <= now).then_some(Slept::Through));
                }
            }
        }
    }
}

/// Sleeps until the wall clock shows `at`, if there is an alarm.
pub(super) async fn sleep_until(at: Timestamp) -> Option<Slept> {
    let alarm = ALARM.get().filter(|alarm| !alarm.over.load(Ordering::Relaxed))?.clone();
    let (sender, woken) = oneshot::channel();
    let place = Place { key: (at, alarm.names.fetch_add(1, Ordering::Relaxed)), alarm };
    place.alarm.sleepers().insert(place.key, sender);
    place.alarm.changed.notify_one();
    woken.await.ok()
}

impl Alarm {
    fn sleepers(&self) -> MutexGuard<'_, BTreeMap<(Timestamp, u64), oneshot::Sender<Slept>>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those for whom there is a reason.
    fn wake(&self, reason: impl Fn(Timestamp) -> Option<Slept>) {
        let mut sleepers = self.sleepers();
        let woken: Vec<_> = sleepers.keys().copied().filter(|(at, _)| reason(*at).is_some()).collect();
        for key in woken {
            if let (Some(sleeper), Some(slept)) = (sleepers.remove(&key), reason(key.0)) {
                // Who has turned away meanwhile misses nothing.
                sleeper.send(slept).ok();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.alarm.sleepers().remove(&self.key);
    }
}

/// Sets the timer to a time, or far ahead: then it only tells that the clock was set.
fn set(timer: &OwnedFd, at: Option<Timestamp>) -> Result<(), Errno> {
    const FAR: i64 = 1 << 33;
    let at = at.map_or(Timespec { tv_sec: FAR, tv_nsec: 0 }, |at| Timespec {
        // A time of zero would switch the timer off.
        tv_sec: at.as_second().clamp(1, FAR),
        tv_nsec: at.subsec_nanosecond().max(0).into(),
    });
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(timer, flags, &once).map(drop)
}

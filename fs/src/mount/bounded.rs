//! Calls that may hang for ever, made so that we don't.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs `call` on a thread of its own and waits at most `limit` for it. `None`: it didn't return in time, or panicked; a
/// thread that hangs in the kernel is left behind and ends when the kernel lets go.
pub(super) fn within<T: Send + 'static>(
    name: &str,
    limit: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _ = sender.send(call());
    });
    match spawned {
        Ok(_) => receiver.recv_timeout(limit).ok(),
        Err(error) => {
            tracing::warn!(%error, name, "no thread could be started");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_time_comes_back_and_a_late_one_is_given_up() {
        assert_eq!(within("quick", Duration::from_secs(5), || 7), Some(7));
        let late = within("late", Duration::from_millis(10), || thread::sleep(Duration::from_secs(2)));
        assert_eq!(late, None);
    }
}

//! Whether a worker is a member of its group. Pure: what the client reports and the time are arguments.

use std::time::{Duration, Instant};

/// A member without partitions is ready after so long: under the newer group protocol no event says that it gets none.
const JOINED_AFTER: Duration = Duration::from_secs(2);

/// A worker that has been no member for so many sessions gets other clients. For one session the group may wait for members
/// that have gone without leaving.
const SESSIONS_LEFT_OUT: u32 = 2;

/// What the group makes of a worker.
#[derive(Debug)]
pub(super) struct Membership {
    /// The session timeout.
    session: Duration,
    /// The group has given it partitions, be they none.
    is_assigned: bool,
    /// Since when it is a member.
    since: Option<Instant>,
    /// The generation in which the group continued without it: it is no member until it has another one.
    lost_in: Option<i32>,
    /// Since when it could have joined and is no member.
    left_out_since: Option<Instant>,
}

impl Membership {
    /// Of a worker that has not joined yet.
    pub(super) fn new(session: Duration) -> Membership {
        Membership { session, is_assigned: false, since: None, lost_in: None, left_out_since: None }
    }

    /// The group has assigned partitions to the worker, be they none.
    pub(super) fn assigned(&mut self) {
        (self.is_assigned, self.lost_in) = (true, None);
    }

    /// The group continues without the worker, whose client keeps this generation until it has joined again.
    pub(super) fn lost(&mut self, generation: Option<i32>) {
        (self.is_assigned, self.lost_in) = (false, generation);
    }

    /// Looks at the generation that the client has, about once a second. `may_join` says that the brokers answer and don't deny
    /// membership. Returns whether the worker is a member.
    pub(super) fn observe(&mut self, generation: Option<i32>, may_join: bool, now: Instant) -> bool {
        let generation = generation.filter(|&present| self.lost_in != Some(present));
        self.since = generation.and(self.since.or(Some(now)));
        let is_member = self.is_assigned || self.since.is_some_and(|since| now.duration_since(since) >= JOINED_AFTER);
        self.left_out_since = if is_member || !may_join { None } else { self.left_out_since.or(Some(now)) };
        is_member
    }

    /// For how long the worker has been no member though it may be one, if that is too long. librdkafka keeps a coordinator's old
    /// address when a broker returns at another one.
    pub(super) fn left_out_for(&self, now: Instant) -> Option<Duration> {
        let time = now.saturating_duration_since(self.left_out_since?);
        (time >= self.session * SESSIONS_LEFT_OUT).then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(45);

    #[test]
    fn a_worker_that_its_group_has_lost_is_no_member_until_it_has_another_generation() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut membership = Membership::new(SESSION);
        assert!(!membership.observe(None, true, start));
        membership.assigned();
        assert!(membership.observe(Some(3), true, after(1)));
        membership.lost(Some(3));
        for second in 2..60 {
            assert!(!membership.observe(Some(3), true, after(second)), "its client still has the generation");
        }
        // Without partitions, of which no event says anything.
        assert!(!membership.observe(Some(4), true, after(60)));
        assert!(membership.observe(Some(4), true, after(62)));
    }

    #[test]
    fn only_a_worker_that_could_have_joined_for_long_is_left_out() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut membership = Membership::new(SESSION);
        // The brokers are away, or deny membership.
        for second in 0..200 {
            membership.observe(None, false, after(second));
            assert_eq!(membership.left_out_for(after(second)), None);
        }
        membership.observe(None, true, after(200));
        assert_eq!(membership.left_out_for(after(289)), None, "the group may wait out old sessions");
        assert_eq!(membership.left_out_for(after(290)), Some(SESSION * 2));
        membership.assigned();
        membership.observe(Some(1), true, after(291));
        assert_eq!(membership.left_out_for(after(999)), None);
        membership.lost(Some(1));
        membership.observe(Some(1), true, after(1_000));
        assert_eq!(membership.left_out_for(after(1_090)), Some(SESSION * 2));
    }
}

//! How fast each path of a connection is filled.
//!
//! QUIC keeps one congestion controller per path, and each of ours decides by what it sees, so the two ends need not agree on anything:
//!
//! ```text
//! Cubic ──── a packet lost on a path longer than FAR ───> BBR ──┐
//!                                                          ^────┘ much to send after a rest
//! ```
//!
//! Cubic takes every loss for a full queue. On a long way that loses packets by itself (radio, an airplane) it falls to a twentieth of what the
//! path carries; BBR measures the rate instead. Nearby, and through a relay, whose TCP hides losses, Cubic carries more, and nothing changes.
//!
//! BBR in its third version is not told of losses as rare as a radio's (see [`Losses`]), and forgets what it believed of a path that carried
//! only keys for a while: it would need a minute to grow from there to what a copied file needs.

use iroh::endpoint::{Controller, ControllerFactory, ControllerMetrics, IdleTimeout, QuicTransportConfig, RttEstimator, VarInt};
use noq::{
    AckFrequencyConfig,
    congestion::{Bbr3Config, CubicConfig},
};
use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

/// A shorter round trip is near: the path's own queue is the likeliest cause of a loss.
pub(crate) const FAR: Duration = Duration::from_millis(30);
/// What may be on its way on a path shorter than [`FAR`], in bytes. More overruns the receive buffers that kernels allow (4 MB with their
/// bookkeeping), and every overrun is a loss.
const NEAR_WINDOW_BYTES: u64 = 1_250_000;
/// What may be on its way and unread in one stream, in bytes: as much as a long path needs, and still too little for the defect that
/// [`crate::credit`] is about, which takes 2048 packets.
const STREAM_WINDOW_BYTES: u32 = 2_000_000;
/// This many packets in a round trip are sent at once, whatever rate BBR believes in: keys must not queue behind an estimate that was made
/// while nobody typed.
const UNPACED_PACKETS: u32 = 10;
/// So many packets may arrive before the other end says so, and so long it may wait with it on a path that is at least as long. An
/// acknowledgement then travels with what is typed next instead of by itself: each packet that a relay's TCP loses holds up all behind it.
const UNACKNOWLEDGED_PACKETS: u32 = 8;
const UNACKNOWLEDGED_FOR: Duration = Duration::from_millis(200);
/// One packet of so many may be lost without the path being full. BBR's own limit is one of fifty, which a radio passes on a bad day.
const LOSSES_PER_PACKETS: u32 = 10;
/// A share of losses is of about this many packets.
const LOSSES_MEMORY_PACKETS: u32 = 512;
/// A path that carried all there was for so long says nothing about what it could carry.
const REST: Duration = Duration::from_secs(1);
/// What a round trip is taken for before the first one: a first packet that is lost is sent again after three of these. Too short costs a
/// packet sent twice, too long a pause that the person feels. QUIC's own default (RFC 9002, section 6.2.2) is 333 ms.
const FIRST_GUESS: Duration = Duration::from_millis(100);
/// Sessions survive a connection that is gone for this long: a lift, a tunnel, a relay that restarts, a laptop that naps.
const IDLE: Duration = Duration::from_secs(300);

/// What a connection takes from the other end before it is told to take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Takes {
    /// How many streams at a time the other end may open.
    pub(crate) streams: u32,
    /// How many bytes may be unread on all streams together.
    pub(crate) bytes: u32,
}

impl Takes {
    /// No streams of the other end's own; on ours, as much as each may hold.
    pub(crate) const NOTHING: Self = Self { streams: 0, bytes: u32::MAX };
}

/// The settings of every connection.
pub(crate) fn settings(takes: Takes) -> QuicTransportConfig {
    QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(takes.streams))
        .receive_window(VarInt::from_u32(takes.bytes))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .initial_rtt(FIRST_GUESS)
        .ack_frequency_config(Some(acknowledgements()))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .congestion_controller_factory(Arc::new(Factory))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .build()
}

/// When the other end acknowledges.
fn acknowledgements() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(VarInt::from_u32(UNACKNOWLEDGED_PACKETS)).max_ack_delay(Some(UNACKNOWLEDGED_FOR));
    config
}

/// Makes the controller of each path.
#[derive(Debug)]
struct Factory;

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::new(CubicConfig::default()).build(now, mtu);
        Box::new(Adaptive { inner, law: Law::Cubic, mtu, nearest: None, losses: Losses::default(), rested_since: None })
    }
}

/// By which law a path is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Law {
    Cubic,
    Bbr,
}

impl Law {
    /// The law after a loss on a path whose shortest round trip so far was `nearest`.
    fn after_loss(self, nearest: Option<Duration>) -> Self {
        match nearest {
            Some(nearest) if nearest >= FAR => Self::Bbr,
            _ => self,
        }
    }
}

/// The share of packets that were lost lately.
#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    sent: u32,
    lost: u32,
}

impl Losses {
    fn sent(&mut self) {
        self.sent += 1;
        if self.sent > LOSSES_MEMORY_PACKETS {
            (self.sent, self.lost) = (self.sent / 2, self.lost / 2);
        }
    }

    /// Takes note of a lost packet; whether they are too many for a path that is not full.
    fn lost(&mut self) -> bool {
        self.lost += 1;
        self.lost * LOSSES_PER_PACKETS > self.sent.max(LOSSES_MEMORY_PACKETS / 4)
    }
}

/// The controller of one path.
#[derive(Debug)]
struct Adaptive {
    inner: Box<dyn Controller>,
    law: Law,
    mtu: u16,
    nearest: Option<Duration>,
    losses: Losses,
    /// Since when the path has carried all there was to send.
    rested_since: Option<Instant>,
}

impl Adaptive {
    /// Begins BBR, or begins it anew. The window is handed over; it goes on from there.
    fn switch(&mut self, now: Instant) {
        let mut config = Bbr3Config::default();
        config.initial_window(self.inner.window().max(self.inner.initial_window()));
        self.inner = Arc::new(config).build(now, self.mtu);
        self.law = Law::Bbr;
    }

    /// The least rate that BBR may pace at, in bytes per second.
    fn rate_min(&self) -> u64 {
        let seconds = self.nearest.unwrap_or(FAR).max(FAR).as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number below 2^40")]
        let rate = (f64::from(UNPACED_PACKETS * u32::from(self.mtu)) / seconds) as u64;
        rate
    }
}

impl Controller for Adaptive {
    fn on_sent(&mut self, now: Instant, bytes: u64, largest_pn: u64) {
        self.inner.on_sent(now, bytes, largest_pn);
    }

    fn on_packet_sent(&mut self, now: Instant, bytes: u16, pn: u64) {
        self.losses.sent();
        self.inner.on_packet_sent(now, bytes, pn);
    }

    fn on_cwnd_limited(&mut self) {
        self.inner.on_cwnd_limited();
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, pn: u64, app_limited: bool, rtt: &RttEstimator) {
        self.nearest = Some(rtt.min());
        self.inner.on_ack(now, sent, bytes, pn, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_pn: Option<u64>) {
        if app_limited {
            self.rested_since.get_or_insert(now);
        } else if let Some(since) = self.rested_since.take()
            && now - since >= REST
            && self.law == Law::Bbr
        {
            self.switch(now);
        }
        self.inner.on_end_acks(now, in_flight, app_limited, largest_pn);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, is_ecn: bool, lost_bytes: u64, pn: u64) {
        if self.law == Law::Cubic && !is_ecn && self.law.after_loss(self.nearest) == Law::Bbr {
            self.switch(now);
        } else {
            self.inner.on_congestion_event(now, sent, persistent, is_ecn, lost_bytes, pn);
        }
    }

    fn on_packet_lost(&mut self, lost_bytes: u16, pn: u64, now: Instant) {
        if self.losses.lost() || self.law == Law::Cubic {
            self.inner.on_packet_lost(lost_bytes, pn, now);
        }
    }

    fn on_spurious_congestion_event(&mut self) {
        self.inner.on_spurious_congestion_event();
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.inner.on_mtu_update(new_mtu);
    }

    fn on_ack_frequency_update(&mut self, ack_eliciting_threshold: u64, requested_max_ack_delay: Duration) {
        self.inner.on_ack_frequency_update(ack_eliciting_threshold, requested_max_ack_delay);
    }

    fn window(&self) -> u64 {
        match self.nearest {
            Some(nearest) if nearest >= FAR => self.inner.window(),
            _ => self.inner.window().min(NEAR_WINDOW_BYTES),
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.inner.metrics();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = metrics.pacing_rate.map(|rate| rate.max(self.rate_min()));
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), ..*self })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u16 = 1200;

    fn path(nearest: Duration) -> Adaptive {
        let inner = Arc::new(CubicConfig::default()).build(Instant::now(), MTU);
        Adaptive { inner, law: Law::Cubic, mtu: MTU, nearest: Some(nearest), losses: Losses::default(), rested_since: None }
    }

    fn lose(path: &mut Adaptive, is_ecn: bool) {
        let now = Instant::now();
        path.on_congestion_event(now, now, false, is_ecn, if is_ecn { 0 } else { u64::from(MTU) }, 1);
    }

    #[test]
    fn a_loss_far_away_changes_the_law_and_keeps_the_window_and_a_loss_nearby_halves_it() {
        let mut far = path(Duration::from_millis(300));
        let before = far.window();
        lose(&mut far, false);
        assert_eq!((far.law, far.window()), (Law::Bbr, before));

        let mut near = path(Duration::from_millis(2));
        lose(&mut near, false);
        assert_eq!(near.law, Law::Cubic);
        assert!(near.window() < before, "{}", near.window());
    }

    #[test]
    fn a_router_that_marks_packets_is_a_full_queue_however_far_away() {
        let mut far = path(Duration::from_millis(300));
        lose(&mut far, true);
        assert_eq!(far.law, Law::Cubic);
    }

    #[test]
    fn a_radios_losses_are_not_too_many_and_a_full_queues_are() {
        let too_many = |every: u32| {
            let mut losses = Losses::default();
            (1..10 * LOSSES_MEMORY_PACKETS).any(|packet| {
                losses.sent();
                packet % every == 0 && losses.lost()
            })
        };
        assert!(!too_many(20));
        assert!(!too_many(12));
        assert!(too_many(5));
        let mut few = Losses::default();
        assert!((0..3).all(|_| !few.lost()), "a handful says nothing");
    }

    #[test]
    fn a_path_that_only_carried_keys_begins_anew_when_there_is_much_to_send() {
        let mut far = path(Duration::from_millis(300));
        lose(&mut far, false);
        let now = Instant::now();
        let bytes = u64::from(MTU);
        // BBR believes in little.
        far.on_congestion_event(now, now, true, false, bytes, 2);
        let little = far.window();
        let begun_anew = |far: &Adaptive| far.inner.window() > little;
        far.on_end_acks(now, 0, true, Some(3));
        far.on_end_acks(now + REST / 2, bytes, false, Some(4));
        assert!(!begun_anew(&far), "half a second is no rest");
        far.on_end_acks(now + REST, 0, true, Some(5));
        far.on_end_acks(now + REST * 3, 0, true, Some(6));
        assert!(!begun_anew(&far), "nothing waits to be sent");
        far.on_end_acks(now + REST * 3, bytes, false, Some(7));
        assert!(begun_anew(&far));
        assert_eq!(far.rested_since, None);
    }

    #[test]
    fn ten_packets_in_a_round_trip_are_never_held_back() {
        let mut far = path(Duration::from_millis(300));
        lose(&mut far, false);
        let rate = far.metrics().pacing_rate.unwrap();
        assert!(rate >= u64::from(MTU) * 10 * 10 / 3, "{rate}");
        assert_eq!(far.clone_box().metrics().pacing_rate, Some(rate));
    }
}

//! What goes wrong in a run, and when: drawn from the seed before anything begins.

use weir_log::planted::Bug;

/// Milliseconds of one tick: how finely the broker and its clients take turns.
pub const TICK_MS: u64 = 2;

/// One thing that happens to the broker or around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The process dies: what was written is still in the page cache.
    Kill,
    /// The machine dies: what was not synced may be gone.
    PowerCut,
    /// An operator stops the broker.
    Stop,
    /// Kill and delete the views.
    KillAndForgetViews,
    /// The broker comes up again, if it is down.
    Start,
    /// The wall clock jumps by so many seconds.
    Clock(i64),
    /// Every wait for the disk takes up to so many milliseconds.
    DiskTakes(u64),
    /// The write or sync after so many more fails.
    DiskFailsAfter(u32),
    /// So many bytes are left on the disk; `None`: as many as anyone wants.
    DiskHas(Option<u64>),
    /// Lost and doubled packets of a thousand, and the longest way in ms.
    Network(u32, u32, u64),
    /// Nobody reaches anybody.
    NetworkIsCut,
    /// A fair network again.
    NetworkIsFair,
    /// The chain is changed while events flow.
    Swap,
}

/// A seed's run.
#[derive(Debug, Clone)]
pub struct Script {
    /// What all of it follows from.
    pub seed: u64,
    /// Of the topic with the rule.
    pub partitions: u32,
    /// How many producers there are, and how many events each sends.
    pub producers: (u32, u64),
    /// Events of a user and day.
    pub limit: u64,
    /// Whether refused events are kept.
    pub dead_letters: bool,
    /// By tick.
    pub actions: Vec<(u64, Action)>,
    /// A bug that is planted in the broker.
    pub bug: Option<Bug>,
    /// Syncs of files, or of folders, are said to be done and are not.
    pub disk_lies: Option<Lie>,
}

/// What a lying disk skips: planted as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Files are not synced.
    Files,
    /// Names are not synced.
    Folders,
}

impl Script {
    /// What happens under this seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed ^ 0x5EED);
        let mut actions = Vec::new();
        let mut tick = chance.u64(5..100);
        for _ in 0..chance.u32(2..9) {
            Self::draw(&mut chance, &mut tick, &mut actions);
            tick += chance.u64(1..200);
        }
        Self {
            seed,
            partitions: chance.u32(1..3),
            producers: (chance.u32(1..4), chance.u64(10..50)),
            limit: chance.u64(1..6),
            dead_letters: chance.bool(),
            actions,
            bug: None,
            disk_lies: None,
        }
    }

    /// Whether the wall clock is set forward, by so much that producers may be forgotten.
    pub fn sets_clock_forward(&self) -> bool {
        self.actions.iter().any(|(_, action)| matches!(action, Action::Clock(0..)))
    }

    fn draw(chance: &mut fastrand::Rng, tick: &mut u64, actions: &mut Vec<(u64, Action)>) {
        let mut then = |after: u64, action| {
            *tick += after;
            actions.push((*tick, action));
        };
        match chance.u32(0..16) {
            0..=2 => {
                then(0, Action::Kill);
                then(chance.u64(1..80), Action::Start);
            }
            3..=5 => {
                then(0, Action::PowerCut);
                then(chance.u64(1..80), Action::Start);
            }
            6 => {
                then(0, Action::Stop);
                then(chance.u64(1..80), Action::Start);
            }
            7 => {
                then(0, Action::KillAndForgetViews);
                then(chance.u64(1..80), Action::Start);
            }
            8 => {
                // Forward no further than the rule remembers a day: 32 days of partition time.
                let far = [3_600, 86_400, 1, -3_600, -86_400, -10 * 365 * 86_400];
                then(0, Action::Clock(far[chance.usize(0..6)]));
            }
            9 => {
                then(0, Action::DiskTakes([20, 500, 5_000][chance.usize(0..3)]));
                let after = chance.u64(20..400);
                if chance.bool() {
                    // Whatever waits for the disk is lost.
                    then(after, Action::PowerCut);
                    then(chance.u64(1..80), Action::DiskTakes(2));
                    then(0, Action::Start);
                } else {
                    then(after, Action::DiskTakes(2));
                }
            }
            10 => {
                // A stopped partition waits for the operator, who restarts the broker.
                then(0, Action::DiskFailsAfter(chance.u32(0..30)));
                then(chance.u64(1..200), Action::Kill);
                then(chance.u64(1..80), Action::Start);
            }
            11 => {
                then(0, Action::DiskHas(Some(chance.u64(0..20_000))));
                then(chance.u64(20..200), Action::DiskHas(None));
            }
            12 | 13 => {
                let (lost, doubled) = (chance.u32(0..300), chance.u32(0..100));
                then(0, Action::Network(lost, doubled, chance.u64(1..50)));
                then(chance.u64(50..300), Action::NetworkIsFair);
            }
            14 => {
                then(0, Action::NetworkIsCut);
                then(chance.u64(20..600), Action::NetworkIsFair);
            }
            _ => then(0, Action::Swap),
        }
    }
}

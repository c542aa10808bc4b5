//! One history: a storm of faults while things happen, calm while what has become of them is looked
//! at.

use kube::client::ClientBuilder;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::check::{self, Settled};
use crate::faults::Faults;
use crate::story::Dice;
use crate::support::Cluster;
use crate::witness::Witness;

/// How many things happen in one history.
const STEPS: usize = 30;

/// A history in progress.
pub(crate) struct Play {
    pub(crate) cluster: Cluster,
    /// How many of them believe to lead.
    controllers: usize,
    pub(crate) dice: Dice,
    /// What was settled when things were last quiet: nobody of these may have moved.
    pub(crate) settled: Settled,
    /// What each Service ever asked for by name.
    pub(crate) asked: Settled,
    faults: Faults,
    witness: Witness,
    story: Vec<String>,
}

impl Play {
    /// `None`, said loudly, where there is no API server to be had.
    pub(crate) async fn start(
        test: &str,
        seed: u64,
        history: u64,
        controllers: usize,
    ) -> Option<Self> {
        let cluster = Cluster::start(test).await?;
        let mixed = seed
            .wrapping_add(history)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut play = Self {
            dice: Dice::new(mixed),
            settled: Settled::new(),
            asked: Settled::new(),
            faults: Faults::new(mixed),
            witness: Witness::start(cluster.client.clone()),
            story: vec![format!("seed {seed}, history {history}")],
            cluster,
            controllers,
        };
        play.back().await;
        Some(play)
    }

    /// A controller whose API server fails.
    async fn controller(&mut self) {
        let kubeconfig = Kubeconfig::read_from(self.cluster.kubeconfig()).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let builder = ClientBuilder::try_from(config.unwrap()).unwrap();
        let client = builder.with_layer(&self.faults).build();
        // A history undoes what it does a hundred times a minute.
        self.cluster.controller_through(client, |settings| {
            settings.contest_pause = std::time::Duration::from_millis(1);
        });
    }

    /// One controller dies, another starts.
    pub(crate) async fn restart(&mut self) {
        let at = self.dice.roll(12);
        self.cluster.kill_one(at).await;
        self.controller().await;
    }

    /// All controllers die.
    pub(crate) async fn away(&mut self) {
        self.cluster.kill().await;
    }

    /// As many start as there were.
    pub(crate) async fn back(&mut self) {
        for _ in 0..self.controllers {
            self.controller().await;
        }
    }

    /// Plays it, looking in between and at the end.
    pub(crate) async fn through(mut self) {
        for _ in 0..STEPS {
            self.faults.storm();
            let happened = self.happen().await;
            self.story.push(happened);
            if self.dice.roll(6) == 0 {
                self.look().await;
            }
        }
        self.look().await;
        let book = self.cluster.book().await;
        let versions = self.cluster.versions().await;
        self.cluster.kill().await;
        self.controller().await;
        self.look().await;
        let told = self.story.join("\n");
        assert!(self.faults.happened() > 0, "nothing ever failed\n{told}");
        let now = (self.cluster.book().await, self.cluster.versions().await);
        assert_eq!(now, (book, versions), "a restart changed something\n{told}");
        self.cluster.stop().await;
    }

    /// Waits for rest in calm, and checks everything.
    async fn look(&mut self) {
        self.faults.calm();
        self.cluster.rest().await;
        check::all(
            &self.cluster,
            self.controllers,
            &mut self.witness,
            &mut self.settled,
            &self.asked,
            &self.story,
        )
        .await;
        let faults = self.faults.happened();
        self.story.push(format!("quiet after {faults} faults"));
    }
}

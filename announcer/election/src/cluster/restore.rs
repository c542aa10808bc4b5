//! The API server's database restored from an older copy, under running announcers.

use std::time::Duration;

use super::node::Wants;
use super::server::{SESSION, Server};
use super::single::{at_rest, millis, secs};
use super::storm::cases;
use super::world::World;

impl World {
    /// The server goes on from an older copy of all that it has. Each node notices by its next renewal.
    fn restore(&mut self, copy: Server) {
        self.server.restore(copy);
        let nodes = 0..self.nodes.len();
        self.misled = nodes.clone().collect();
        let mut notice: Vec<(Duration, usize)> = nodes
            .map(|n| (self.dice.between(Duration::ZERO, SESSION / 3), n))
            .collect();
        notice.sort();
        let mut waited = Duration::ZERO;
        for (at, n) in notice {
            self.run(at - waited);
            waited = at;
            self.notice(n);
        }
    }

    fn notice(&mut self, n: usize) {
        self.misled.remove(&n);
        self.seen[n] = self.server.log.len();
        let mut wants = Wants::default();
        self.nodes[n].go_back(&self.server, self.now, &mut wants);
        self.carry_out(n, wants);
    }
}

#[test]
fn what_moved_since_the_copy_is_answered_for_by_whom_the_copy_names() {
    for (seed, nodes) in cases(60, &[2, 3, 12]) {
        let mut world = at_rest(seed, nodes, 24);
        let copy = world.server.clone();
        let before = world.transitions();
        // What node 0 has goes to others, and does not come back by itself.
        world.plug(0, false);
        world.read_of_interface(0, false);
        world.run(secs(2));
        world.plug(0, true);
        world.read_of_interface(0, true);
        world.run(secs(30));
        assert!(world.nodes[0].answering.is_empty());
        // Who noticed and who did not yet go by two histories.
        world.check.longest = secs(6);
        world.restore(copy);
        world.run(secs(1));
        world.check.longest = millis(3500);
        world.run(secs(20));
        assert_eq!(world.transitions(), before, "{nodes} nodes, seed {seed}");
        world.assert_all_answered_once();
    }
}

//! Whom peers serve: as the tracker says, unless the user says otherwise.

use crate::common::{World, assert_same, text};

#[test]
fn the_trackers_policy_reaches_every_peer_and_a_peers_own_wins() {
    let mut world = World::with_tracker(&["--policy", "fair"]);
    let source = world.file("image.bin", 1, 1 << 20);
    let share = world.share(&[text(&source), "-v"]);
    share.complaint("serving by the policy fair, as the tracker says");
    world
        .get(&["image.bin", "-o", "copy", "-v"])
        .exits(0)
        .complains("serving by the policy fair, as the tracker says");
    assert_same(&source, &world.path("copy"));
    world
        .get(&["image.bin", "-o", "other", "-v", "--policy", "fleet"])
        .exits(0)
        .complains("serving by the policy fleet, as --policy says");
    assert_same(&source, &world.path("other"));
    // A tracker that comes back with another policy is followed, by what runs already too.
    world.tracker.kill();
    world.tracker.change_args(&["--policy", "fleet"]);
    world.tracker.revive();
    share.complaint("serving by the policy fleet, as the tracker says");
    world.get(&["image.bin", "-o", "third"]).exits(0);
    assert_same(&source, &world.path("third"));
}

//! What shows that somebody lives, or that this node's own link does, and how late it may come.

use super::*;

/// One of a pair, whose peer has just fallen silent: the router is asked.
fn bereft() -> Lone {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    let asks = |action: &Action| matches!(action, Action::AskWitness(_));
    while !lone.out.iter().any(asks) {
        lone.turn();
    }
    lone
}

#[test]
fn a_router_that_answers_late_is_a_witness_all_the_same() {
    // Later than its half's turn lasts it waits for the next.
    for (late, then) in [
        (1, 20),
        (14, 20),
        (16, 20),
        (40, 20),
        (120, 400),
        (900, 120),
    ] {
        let mut lone = bereft();
        lone.wait(millis(late));
        assert_eq!(lone.fences(), 0, "there is no witness yet");
        lone.tell(Event::Witnessed(SEGMENT));
        lone.wait(millis(then));
        assert_eq!(lone.fences(), 1, "after {late} ms");
    }
}

#[test]
fn whoever_answers_before_the_router_does_is_not_fenced() {
    let mut lone = bereft();
    lone.wait(millis(30));
    lone.tell(Event::Answered(SEGMENT, node("b")));
    lone.wait(millis(10));
    lone.tell(Event::Witnessed(SEGMENT));
    lone.wait(Duration::from_secs(10));
    assert_eq!(lone.fences(), 0);
}

#[test]
fn where_no_router_answers_it_is_asked_again_every_second_and_so_is_the_silent_one() {
    let mut lone = bereft();
    lone.wait(Duration::from_secs(10));
    let count = |wanted: fn(&Action) -> bool| lone.out.iter().filter(|it| wanted(it)).count();
    for asked in [
        count(|action| matches!(action, Action::AskWitness(_))),
        count(|action| matches!(action, Action::Ask(..))),
    ] {
        assert!((10..=11).contains(&asked), "{asked} times in ten seconds");
    }
    assert_eq!(lone.fences(), 0);
}

/// Two of three are left, and it is being found out whether the third is dead.
fn asking() -> (Lone, u64) {
    let mut lone = Lone::new();
    lone.hears("b1", 1);
    lone.hears("c1", 1);
    let mut sequence = 1;
    let asks = |action: &Action| matches!(action, Action::Ask(..));
    while !lone.out.iter().any(asks) {
        sequence += 1;
        lone.hears("c1", sequence);
        lone.turn();
    }
    (lone, sequence)
}

#[test]
fn an_answer_of_the_suspect_is_a_veto_until_it_is_heard_again() {
    let (mut lone, mut sequence) = asking();
    lone.tell(Event::Answered(SEGMENT, node("b")));
    for _ in 0..100 {
        sequence += 1;
        lone.hears("c1", sequence);
        lone.wait(millis(40));
    }
    assert_eq!(lone.fences(), 0);
    assert!(lone.reported(|report| matches!(report, Report::Vetoed { .. })));
}

#[test]
fn one_frame_in_a_dead_node_s_name_holds_its_end_up_for_a_second() {
    let (mut lone, mut sequence) = asking();
    let since = lone.now;
    lone.tell(Event::Refused(SEGMENT, node("b")));
    while lone.fences() == 0 {
        sequence += 1;
        lone.hears("c1", sequence);
        lone.wait(millis(20));
        assert!(lone.now < since + millis(1_200), "it is never ended");
    }
    assert!(lone.now >= since + Duration::from_secs(1));
}

#[test]
fn whoever_goes_on_being_refused_is_not_fenced() {
    let (mut lone, mut sequence) = asking();
    for _ in 0..40 {
        lone.tell(Event::Refused(SEGMENT, node("b")));
        for _ in 0..10 {
            sequence += 1;
            lone.hears("c1", sequence);
            lone.wait(millis(50));
        }
    }
    assert_eq!(lone.fences(), 0);
    let said = |action: &&Action| matches!(action, Action::Report(Report::Vetoed { .. }));
    assert_eq!(lone.out.iter().filter(said).count(), 1, "it is said once");
}

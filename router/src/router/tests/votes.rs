//! What a mesh makes of a node that fails a share of what it is asked.

use super::*;

/// Nodes 0 to 3, which are asked, and from 4 on those of another region, which ask.
fn asked_and(askers: usize) -> Mesh {
    let regions: Vec<u32> = (0..4 + askers).map(|at| u32::from(at >= 4)).collect();
    Mesh::full(&regions, |a, b| if a == b { 1 } else { 80 })
}

/// The one of them that fails.
const X: usize = 0;

/// For some seconds, each of `ill` and `well` asks every node of the other region once a second.
/// For `ill`, `X` fails three times of five, and never five in a row.
fn ask(mesh: &mut Mesh, seconds: u64, ill: &[usize], well: &[usize]) {
    for second in 0..seconds {
        for (at, asker) in ill.iter().chain(well).enumerate() {
            for asked in 0..4 {
                let is_well = at >= ill.len() || asked != X || second % 5 % 2 == 1;
                mesh.outcome(node(*asker), node(asked), is_well);
            }
        }
        mesh.run(secs(1));
    }
}

fn verdicts(mesh: &Mesh, at: usize) -> Vec<(Instant, Verdict)> {
    let facts = mesh.facts.iter().filter(|(_, by, _)| *by == node(at));
    let verdicts = facts.filter_map(|(when, _, fact)| match fact {
        Output::Judged(judged, verdict) if *judged == node(X) => Some((*when, *verdict)),
        _ => None,
    });
    verdicts.collect()
}

fn said(mesh: &Mesh) -> u64 {
    let said = (0..9).map(|by| {
        let advert = mesh.router(node(by)).gossip().advert(node(by)).unwrap();
        advert.value().version().sequence
    });
    said.sum()
}

#[test]
fn node_that_three_see_fail_is_ejected_where_nobody_asked_it_and_returns_in_time() {
    let mut mesh = asked_and(5);
    let began = mesh.now;
    ask(&mut mesh, 60, &[4, 5, 6], &[]);
    for at in [7, 8] {
        let verdicts = verdicts(&mesh, at);
        let out = Verdict::Ejected {
            reason: crate::outlier::Reason::Votes,
            time: secs(10),
        };
        assert_eq!(verdicts[0].1, out, "node {at}");
        // Twenty outcomes of each, a sweep there and here, and the way.
        let after = verdicts[0].0 - began;
        assert!(after > secs(19) && after <= secs(26), "{after:?}");
        assert_eq!(verdicts[1], (verdicts[0].0 + secs(10), Verdict::Returned));
    }
    // It is well again, and nobody thinks ill of it for longer than it takes to see that.
    ask(&mut mesh, 120, &[], &[4, 5, 6]);
    let well = mesh.now;
    ask(&mut mesh, 300, &[], &[4, 5, 6]);
    let since = (4..9).flat_map(|at| verdicts(&mesh, at));
    assert_eq!(since.filter(|(when, _)| *when > well).count(), 0);
}

#[test]
fn one_or_two_that_speak_ill_of_a_node_eject_it_nowhere_else() {
    for liars in [&[4][..], &[4, 5]] {
        let mut mesh = asked_and(5);
        ask(&mut mesh, 120, liars, &[]);
        assert!(!verdicts(&mesh, 4).is_empty());
        for at in [7, 8] {
            assert_eq!(verdicts(&mesh, at), [], "{liars:?}");
        }
    }
}

#[test]
fn those_who_see_a_node_do_well_outvote_three_though_they_have_no_news() {
    for (well, out) in [(&[7, 8, 9][..], false), (&[7, 8], true)] {
        let mut mesh = asked_and(7);
        // Longer than it takes them all to say something, and long before the others do.
        ask(&mut mesh, 150, &[], well);
        ask(&mut mesh, 60, &[4, 5, 6], well);
        assert_eq!(
            !verdicts(&mesh, 10).is_empty(),
            out,
            "three against {well:?}"
        );
    }
}

#[test]
fn steady_success_is_said_with_what_is_said_anyway() {
    let said_in_all = [false, true].map(|asks| {
        let mut mesh = asked_and(5);
        mesh.run(secs(120));
        let before = said(&mesh);
        match asks {
            true => ask(&mut mesh, 600, &[], &[4, 5, 6, 7, 8]),
            false => mesh.run(secs(600)),
        }
        let advert = mesh.router(node(8)).gossip().advert(node(4)).unwrap();
        let views = advert.value().content().views.len();
        assert_eq!(views, if asks { 4 } else { 0 });
        said(&mesh) - before
    });
    assert_eq!(said_in_all[0], said_in_all[1]);
}

#[test]
fn views_of_a_node_that_is_gone_count_no_more() {
    let mut mesh = asked_and(5);
    ask(&mut mesh, 25, &[4], &[]);
    assert!(!verdicts(&mesh, 4).is_empty(), "it has spoken ill");
    mesh.leave(node(4));
    mesh.run(secs(1));
    mesh.kill(node(4));
    ask(&mut mesh, 30, &[5, 6], &[]);
    assert!(!verdicts(&mesh, 5).is_empty() && !verdicts(&mesh, 6).is_empty());
    assert_eq!(verdicts(&mesh, 8), [], "two are left");
}

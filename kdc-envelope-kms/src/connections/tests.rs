use super::*;

const BOUNDS: Bounds = Bounds {
    connections: 4,
    calls: 10,
    bytes: 1_000,
};

const NONE: [usize; 0] = [];

type Places = Vec<Arc<Seat<&'static str>>>;

fn table() -> Connections<&'static str> {
    Connections::new(BOUNDS, Counter::default())
}

fn admit(connections: &Connections<&'static str>, parties: &[&'static str]) -> Places {
    parties
        .iter()
        .map(|party| Arc::new(connections.admit(party)))
        .collect()
}

fn answer(seat: &Arc<Seat<&'static str>>) {
    seat.begin_call().unwrap().answered();
}

/// Which of them had to go.
fn gone(seats: &Places) -> Vec<usize> {
    let gone = seats.iter().enumerate();
    gone.filter(|(_, seat)| seat.gone.is_cancelled())
        .map(|(at, _)| at)
        .collect()
}

fn is_empty(connections: &Connections<&'static str>) -> bool {
    let table = connections.0.table();
    table.open.is_empty() && table.calls == 0 && table.bytes == 0
}

#[test]
fn below_the_limit_no_client_has_to_go() {
    let connections = table();
    let seats = admit(&connections, &["a", "a", "b", "c"]);
    assert_eq!(gone(&seats), NONE);
    drop(seats);
    assert!(is_empty(&connections));
}

#[test]
fn a_newcomer_gets_in_and_the_party_with_most_makes_room() {
    let connections = table();
    let mut seats = admit(&connections, &["b", "a", "a", "a"]);
    seats.extend(admit(&connections, &["c"]));
    assert_eq!(gone(&seats), [1], "the oldest of `a`");
    seats.extend(admit(&connections, &["b"]));
    assert_eq!(
        gone(&seats),
        [0, 1],
        "now `b` has as many, and its first is older"
    );
    assert_eq!(connections.0.evicted.get(), 2);
    drop(seats);
    assert!(is_empty(&connections));
}

#[test]
fn one_party_alone_keeps_what_was_of_use() {
    let connections = table();
    let mut seats = admit(&connections, &["a", "a", "a", "a"]);
    answer(&seats[0]);
    answer(&seats[2]);
    seats.extend(admit(&connections, &["a"]));
    assert_eq!(gone(&seats), [1], "silent since longest");
    answer(&seats[4]);
    answer(&seats[3]);
    seats.extend(admit(&connections, &["a"]));
    assert_eq!(
        gone(&seats),
        [0, 1],
        "all had answers; its last is the oldest"
    );
}

/// Ten thousand of them that say nothing, while the one that is of use goes on.
#[test]
fn a_crowd_of_silent_connections_only_drives_out_itself() {
    let connections = table();
    let useful = admit(&connections, &["a"]);
    answer(&useful[0]);
    let crowd = admit(&connections, &["a"; 10_000]);
    assert_eq!(gone(&useful), NONE);
    assert_eq!(gone(&crowd).len(), 10_000 - 3);
    assert!(!crowd[9_999].gone.is_cancelled(), "the last one is in");
}

#[test]
fn too_many_calls_cost_the_client_with_most() {
    let connections = table();
    let seats = admit(&connections, &["a", "b", "b"]);
    let few = seats[0].begin_call().unwrap();
    let many: Vec<_> = (0..9).map(|_| seats[1].begin_call().unwrap()).collect();
    assert_eq!(gone(&seats), NONE);
    let one_more = seats[2].begin_call().unwrap();
    assert_eq!(gone(&seats), [1]);
    drop(many);
    let again: Vec<_> = (0..8).map(|_| seats[2].begin_call().unwrap()).collect();
    assert_eq!(gone(&seats), [1], "what the lost one had counts no more");
    drop((few, one_more, again, seats));
    assert!(is_empty(&connections));
}

#[test]
fn those_that_had_to_go_and_have_not_ended_leave_few_calls_to_others() {
    let connections = table();
    let most = connections.0.bounds.calls;
    let seats = admit(&connections, &["a", "b", "c", "d"]);
    let mut unfinished = Vec::new();
    for seat in &seats[..3] {
        unfinished.extend((0..most).map_while(|_| seat.begin_call()));
    }
    assert!(unfinished.len() <= 2 * most + CALLS_OF_ONE);
    assert!(seats[0].begin_call().is_none(), "it had to go");
    // Who calls rarely is served all the same, and who calls much again when the others have ended.
    let few: Vec<_> = (0..most).map_while(|_| seats[3].begin_call()).collect();
    assert_eq!(few.len(), CALLS_OF_ONE.min(most));
    unfinished.clear();
    assert!(seats[3].begin_call().is_some());
    drop((few, seats));
    assert!(is_empty(&connections));
}

#[test]
fn too_many_bytes_cost_the_client_with_most() {
    let connections = table();
    let seats = admit(&connections, &["a", "b"]);
    let small = seats[0].begin_call().unwrap();
    small.take_bytes(300);
    let large = seats[1].begin_call().unwrap();
    large.take_bytes(700);
    assert_eq!(gone(&seats), NONE);
    small.take_bytes(1);
    assert_eq!(gone(&seats), [1]);
    large.take_bytes(5_000);
    small.take_bytes(600);
    assert_eq!(gone(&seats), [1], "what the lost one sends counts no more");
    drop((small, large, seats));
    assert!(is_empty(&connections));
}

#[test]
fn a_call_counts_until_its_last_part_is_dropped() {
    let connections = table();
    let seat = admit(&connections, &["a"]).remove(0);
    assert!(!seat.was_used());
    let call = Arc::new(seat.begin_call().unwrap());
    let answer = Arc::clone(&call);
    call.take_bytes(10);
    drop(call);
    assert_eq!(connections.0.table().calls, 1);
    answer.answered();
    drop(answer);
    let table = connections.0.table();
    assert_eq!((table.calls, table.bytes), (0, 0));
    drop(table);
    assert!(seat.was_used());
}

#[test]
fn connections_leave_room_for_other_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    let many = Bounds {
        connections: usize::MAX,
        ..BOUNDS
    };
    let bounds = many.within_descriptors(4);
    assert_eq!(
        u64::try_from(bounds.connections).unwrap(),
        (limit - OWN_DESCRIPTORS) / 4
    );
    assert_eq!(BOUNDS.within_descriptors(2), BOUNDS);
    assert_eq!(BOUNDS.within_descriptors(u64::MAX).connections, 2);
}

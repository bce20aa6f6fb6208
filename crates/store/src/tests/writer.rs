//! Batches, and what their statements cost.

use super::*;

#[tokio::test]
async fn a_job_that_fails_takes_none_of_its_batch_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("j.db"), LIMITS, || 7).unwrap();
    let handle = store.handle().unwrap();
    // Two holds of one name: the second cannot be written.
    let holds = [hold(1, 1), hold(1, 2), tabbed(3), tabbed(4)];
    let caps = Exposure { payer_micros: 15, ..CAPS };
    let [one, two, three, four] = holds.map(|hold| handle.reserve(hold, None, caps));
    let (one, two, three, four) = tokio::join!(one, two, three, four);
    assert!(matches!(one, Ok(Reservation::Won(_))), "{one:?}");
    assert!(two.is_err(), "{two:?}");
    let rail = |won: Result<Reservation, _>| match won {
        Ok(Reservation::Won(change)) => change.record.hold.rail,
        other => panic!("{other:?}"),
    };
    assert_eq!((rail(three), rail(four)), (Rail::Tab, Rail::Direct), "what was undone is not counted twice");
    assert!(handle.recall(&hold(1, 1).authorization.key).await.unwrap().is_some());
    assert!(handle.recall(&hold(1, 2).authorization.key).await.unwrap().is_none());
}

#[test]
fn the_steps_of_a_call_make_no_table_to_throw_away() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(include_str!("../schema.sql")).unwrap();
    let columns = format!("{}, exposed", rows::COLUMNS);
    let values = vec!["1"; columns.split(',').count()].join(", ");
    for sql in [
        format!("INSERT OR FAIL INTO holds ({columns}) VALUES ({values})"),
        "UPDATE OR FAIL holds SET state = 'answered' WHERE id = 1".to_owned(),
        "UPDATE OR FAIL holds SET answer = 'delivered' WHERE id = 1".to_owned(),
    ] {
        let mut statement = db.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let words: Vec<String> = statement.query_map([], |row| row.get(1)).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(words.iter().any(|word| word.starts_with("Idx")), "{words:?}");
        assert!(!words.iter().any(|word| word == "OpenEphemeral"), "{sql}");
    }
}

//! A head that does not move.

use super::*;

/// Another program signs with the same key, and takes the sequence of a settlement that is on its way.
#[test]
fn a_sequence_that_another_program_takes() {
    let world = World::with(still(), &GateOptions::direct());
    let payment = Paying::new(&world);
    thread::scope(|scope| {
        let call = scope.spawn(|| payment.get(&world, "/paid/ok"));
        until("it is submitted", || world.books().holds("submitted") == 1);
        let [ours] = signed(&world).try_into().unwrap();
        let theirs = send_dear(&world, SETTLER.address, PAYER.address, "0x", Some(ours.sequence));
        world.chain.mine().unwrap();
        assert_eq!(world.chain.succeeded(&theirs).unwrap(), Some(true));
        assert_eq!(world.chain.succeeded(&ours.hash).unwrap(), None);
        world.chain.set_automine(true).unwrap();
        let answer = call.join().unwrap();
        // In time or not: never a reason to pay again.
        assert!(answer.status == 200 || answer.error() == "settlement_pending", "{}", answer.text());
    });
    until("it is posted", || payment.state(&world).0 == "posted");
    let signed = signed(&world);
    assert!(signed.len() > 1 && signed.iter().all(|tx| tx.members == 1), "{signed:?}");
    assert_eq!((world.paid(), world.origin.runs("/paid/")), (PRICE, 1));
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    world.agree();
    // The sequence that the other one took is in the journal as well; it has no gap.
    let sequences = world.books().sequences();
    assert!(sequences.iter().copied().eq(0..sequences.len() as u64), "{sequences:?}");
}

/// The base fee rises above what a settlement bids: it is outbid at its own sequence and lands once.
#[test]
fn one_that_is_stuck_below_the_base_fee_is_outbid_and_lands_once() {
    let world = World::with(still(), &GateOptions::direct());
    let payment = Paying::new(&world);
    thread::scope(|scope| {
        let call = scope.spawn(|| payment.get(&world, "/paid/ok"));
        until("it is submitted", || world.books().holds("submitted") == 1);
        next_base_fee(&world, 50);
        world.chain.mine().unwrap();
        let first = signed(&world);
        assert_eq!((first.len(), world.chain.succeeded(&first[0].hash).unwrap()), (1, None), "not for so little");
        until("it is outbid", || signed(&world).len() == 2);
        world.chain.mine().unwrap();
        call.join().unwrap();
    });
    until("it is posted", || payment.state(&world).0 == "posted");
    let bids = signed(&world);
    assert_eq!((bids.len(), bids[0].sequence, bids[1].sequence), (2, 0, 0));
    assert_eq!(world.chain.succeeded(&bids[1].hash).unwrap(), Some(true));
    assert_eq!((world.paid(), world.chain.transfers_to(kit::PAYEE).unwrap().len()), (PRICE, 1));
    world.chain.set_automine(true).unwrap();
    in_order(&world);
}

/// What is in front of the lane has nothing to move any more: it gives its sequence up, and what waited behind it lands.
fn gives_up(
    first: impl FnOnce(&World) -> Paying,
    end: impl FnOnce(&World, &Paying),
    is_final: impl FnOnce(&World),
) -> (World, Paying) {
    let world = World::with(still(), &GateOptions::direct());
    let (first, second) = (first(&world), Paying::new(&world));
    thread::scope(|scope| {
        let calls = [
            scope.spawn(|| first.get(&world, "/paid/ok?first")),
            scope.spawn(|| {
                until("the first is submitted", || first.state(&world).0 == "submitted");
                second.get(&world, "/paid/ok?second")
            }),
        ];
        until("both are submitted", || world.books().holds("submitted") == 2);
        // Nothing of ours goes through for what it bids.
        next_base_fee(&world, 50);
        end(&world, &first);
        until("the first gives its sequence up", || signed(&world).iter().any(|tx| tx.members == 0));
        world.chain.set_automine(true).unwrap();
        world.chain.mine().unwrap();
        until("the second is posted", || second.state(&world).0 == "posted");
        for call in calls {
            call.join().unwrap();
        }
    });
    let signed = signed(&world);
    let nothing: Vec<_> = signed.iter().filter(|tx| tx.members == 0).collect();
    assert!(nothing.iter().all(|tx| tx.sequence == 0), "{signed:?}");
    let landed: Vec<_> = signed.iter().filter(|tx| world.chain.succeeded(&tx.hash).unwrap().is_some()).collect();
    assert_eq!(landed.iter().map(|tx| (tx.sequence, tx.members)).collect::<Vec<_>>(), [(0, 0), (1, 1)]);
    let tx = world.chain.rpc("eth_getTransactionByHash", json!([landed[0].hash])).unwrap();
    assert_eq!((&tx["value"], &tx["input"]), (&Value::from("0x0"), &Value::from("0x")));
    assert!(tx["to"].as_str().unwrap().eq_ignore_ascii_case(SETTLER.address));
    let receipt = world.chain.rpc("eth_getTransactionReceipt", json!([landed[0].hash])).unwrap();
    assert_eq!(receipt["gasUsed"], "0x5208", "nothing costs 21,000 gas");
    is_final(&world);
    until("the first has ended", || world.books().unfinished() == 0);
    assert_eq!((world.paid(), world.chain.transfers_to(kit::PAYEE).unwrap().len()), (PRICE, 1));
    in_order(&world);
    (world, first)
}

#[test]
fn a_head_whose_authorization_was_cancelled_frees_its_lane() {
    let cancelled = |world: &World, payment: &Paying| {
        let data = cancel(&world.payer, &payment.offer, &payment.fields);
        let chain_tx = send_dear(world, PAYER.address, USDC, &data, None);
        world.chain.mine().unwrap();
        assert_eq!(world.chain.succeeded(&chain_tx).unwrap(), Some(true));
    };
    let (world, payment) = gives_up(Paying::new, cancelled, |_| {});
    assert_eq!(payment.state(&world), ("burnt".to_owned(), Some("settlement_refused".to_owned())));
}

#[test]
fn a_head_whose_authorization_has_expired_frees_its_lane() {
    let expired = |world: &World, _: &Paying| {
        world.chain.increase_time(45).unwrap();
        world.chain.mine().unwrap();
    };
    let is_final = |world: &World| (0..13).for_each(|_| world.chain.mine().unwrap());
    let (world, payment) = gives_up(|world| Paying::for_s(world, 42), expired, is_final);
    assert_eq!(payment.state(&world), ("released".to_owned(), Some("expired".to_owned())));
}

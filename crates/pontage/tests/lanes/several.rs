//! Several keys.

use super::*;

/// Sixty payments, twelve at a time: both keys sign, no sequence of either is left out, and everything moves once.
#[test]
fn two_keys_share_a_burst() {
    let (_folder, facilitator) = two_keys("");
    let options = GateOptions { facilitator, ..GateOptions::uncapped() };
    let world = World::with(ChainOptions::default(), &options);
    let offer = Payer::offer(&world.url("/paid/ok"));
    let answers: Vec<Answer> = thread::scope(|scope| {
        let buyers: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    let buy = |_| get(&world.url("/paid/ok"), &[("payment-signature", &world.payer.payment(&offer).0)]);
                    (0..5).map(buy).collect::<Vec<_>>()
                })
            })
            .collect();
        buyers.into_iter().flat_map(|buyer| buyer.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    world.each_settled(&answers);
    assert_eq!(world.paid(), 60 * PRICE);
    let signed = signed(&world);
    for key in [SETTLER, SECOND] {
        let sequences: Vec<_> = by(&signed, key).iter().map(|tx| tx.sequence).collect();
        // On the tab few chain_txs carry all of them.
        assert!(world.on_tab() || sequences.len() > 10, "{} signed {sequences:?}", key.address);
        assert!(sequences.iter().copied().eq(0..sequences.len() as u64), "{sequences:?}");
    }
    in_order(&world);
}

/// The process dies again and again while both have settlements on their way: each key's are sent again, and none is lost or doubled.
#[test]
fn killed_at_random_moments_with_two_keys() {
    let (_folder, facilitator) = two_keys("");
    let options = GateOptions { tab: "settle_age_s: 1, batch_max: 8", facilitator, ..GateOptions::uncapped() };
    killed(15, &ChainOptions { block_time_s: Some(1), ..ChainOptions::default() }, &options, 20..=400);
}

/// One key runs dry and the other goes on; then neither has any.
#[test]
fn a_key_that_runs_dry_takes_no_new_work() {
    let (_folder, facilitator) = two_keys("");
    let world = World::with(ChainOptions::default(), &GateOptions { facilitator, ..GateOptions::direct() });
    let buy = || world.payer.buy(&world.url("/paid/ok"));
    world.chain.set_native_balance(SETTLER.address, 1_000).unwrap();
    until("it is seen", || world.gate.log().contains("The other keys go on"));
    let before = signed(&world).len();
    for _ in 0..6 {
        assert_eq!(buy().status, 200);
    }
    let new = signed(&world).split_off(before);
    assert_eq!((new.len(), by(&new, SECOND).len()), (6, 6));

    world.chain.set_native_balance(SECOND.address, 1_000).unwrap();
    until("nothing paid is served", || refused(&buy()));
    let runs = world.origin.runs("/paid/");
    unavailable(&buy());
    assert_eq!(world.origin.runs("/paid/"), runs, "the API was not run");

    world.chain.set_native_balance(SETTLER.address, 1_000_000_000_000_000_000).unwrap();
    until("it is served again", || buy().status == 200);
    // What was given to the other one before it was known to be dry waits for its gas.
    world.chain.set_native_balance(SECOND.address, 1_000_000_000_000_000_000).unwrap();
    assert!(by(&signed(&world), SETTLER).len() > by(&signed(&world)[..before], SETTLER).len());
    in_order(&world);
}

/// A key is taken out of the configuration: what it has signed stays in order, and the others go on.
#[test]
fn a_key_that_is_taken_out_stays_one_of_ours() {
    let (_folder, facilitator) = two_keys("");
    let mut world = World::with(ChainOptions::default(), &GateOptions { facilitator, ..GateOptions::direct() });
    for _ in 0..4 {
        assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    }
    assert!(!by(&signed(&world), SECOND).is_empty());
    world.gate.stop();
    let text = std::fs::read_to_string(world.gate.journal().with_file_name("pontage.yaml")).unwrap();
    let second = text.split(", { file: ").nth(1).unwrap().split('}').next().unwrap().to_owned();
    world.gate.rewrite(&format!(", {{ file: {second}}}"), "");
    world.gate.restart();
    let before = signed(&world).len();
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);
    assert_eq!(by(&signed(&world)[before..], SETTLER).len(), 1);
    in_order(&world);
}

/// Two lanes with one key would each give out its sequences.
#[test]
fn the_same_key_twice_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), SETTLER.secret).unwrap();
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    let config = format!(
        "version: 1\nlisten: 127.0.0.1:0\nprovider_address: \"{}\"\nproxy: {{ target: \"http://127.0.0.1:1\" }}\n\
         routes: [{{ path: /, price: \"0.01\" }}]\nnetworks: {{ eip155:84532: {{ rpc_urls: [\"{}\"] }} }}\n\
         facilitator: {{ signers: [{{ env: PONTAGE_SIGNER_KEY }}, {{ file: key }}] }}\n",
        kit::PAYEE,
        chain.rpc_url()
    );
    let path = folder.path().join("pontage.yaml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    let ended =
        command.args(["start", "--config"]).arg(&path).env("PONTAGE_SIGNER_KEY", SETTLER.secret).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("a second time"), "{said}");
    assert!(!said.contains(&SETTLER.secret[2..]), "{said}");
}

/// A key that another program has encrypted.
#[test]
fn a_keystore_file_starts_a_gate_that_settles() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.json"), include_str!("keystore.json")).unwrap();
    std::fs::write(folder.path().join("password"), "a password of the tests\n").unwrap();
    let at = folder.path().display();
    let facilitator = format!("signer: {{ keystore: \"{at}/key.json\", password: {{ file: \"{at}/password\" }} }}");
    let mut world = World::with(ChainOptions::default(), &GateOptions { facilitator, ..GateOptions::default() });
    let answer = world.payer.buy(&world.url("/paid/ok"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    world.settled(&answer);
    assert_eq!(by(&signed(&world), SETTLER).len(), 1);
    in_order(&world);
    world.gate.stop();
    assert!(!world.gate.log().contains("a password of the tests"));
    assert!(!world.gate.log().contains(&SETTLER.secret[2..]));
}

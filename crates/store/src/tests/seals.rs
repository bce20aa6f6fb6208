//! Seals, and what a reader without the lock sees of the journal.

use super::*;
use ::ledger::About;
use protocol::{Key, Signer as _};

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

async fn post(j: &Journalled, id: u8) {
    j.reserve(hold(id, id), 1_000).await;
    j.handle.advance(HoldId([id; 16]), Step::Post(settled(&hold(id, id), 9))).await.unwrap();
}

async fn seal(j: &Journalled, key: &Key) -> Unsealed {
    let what = j.handle.unsealed().unwrap().expect("something to seal");
    assert!(j.handle.seal(what, key.address(), key.sign_now(what.hash).unwrap()).await.unwrap());
    what
}

/// Three posted payments, sealed one by one.
async fn sealed() -> Journalled {
    let j = journal();
    let key = Key::from_hex(KEY).unwrap();
    for id in 1..=3 {
        post(&j, id).await;
        seal(&j, &key).await;
    }
    j
}

/// Which seals are what their entries come to, and are signed by whom they say.
fn holding(j: &Journalled) -> Vec<(u64, bool, bool)> {
    let books = Ledger::open(&j.store.path).unwrap();
    let entries = books.entries(0).unwrap();
    let mut previous = None;
    let check = |seal: SealRow| {
        let mut digest = SealDigest::after(previous);
        let covered = |entry: &&EntryRow| (seal.first_entry..=seal.last_entry).contains(&entry.id);
        entries.iter().filter(covered).for_each(|entry| digest.take(entry));
        previous = Some(seal.hash);
        let signature = Signature::from_bytes(&seal.signature).unwrap();
        (seal.id, digest.finish() == seal.hash, signature.recover(seal.hash) == Some(seal.signer))
    };
    books.seals().unwrap().into_iter().map(check).collect()
}

/// As somebody with the file would: without the triggers that keep others from it.
fn tamper(j: &Journalled, sql: &str) {
    let db = Connection::open(&j.store.path).unwrap();
    db.pragma_update(None, "foreign_keys", false).unwrap();
    for trigger in ["entries_stay", "entries_last", "lines_stay", "lines_last", "seals_stay", "seals_last"] {
        db.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    assert!(db.execute(sql, []).unwrap() > 0, "{sql}");
}

#[tokio::test]
async fn each_seal_covers_what_came_since_the_last_one() {
    let j = journal();
    let key = Key::from_hex(KEY).unwrap();
    assert_eq!(j.handle.unsealed().unwrap(), None);
    post(&j, 1).await;
    post(&j, 2).await;
    let first = seal(&j, &key).await;
    assert_eq!((first.after_seal, first.first_entry, first.last_entry), (0, 1, 2));
    assert_eq!(j.handle.unsealed().unwrap(), None);
    post(&j, 3).await;
    let second = seal(&j, &key).await;
    assert_eq!((second.after_seal, second.first_entry, second.last_entry), (1, 3, 3));
    assert_eq!(holding(&j), [(1, true, true), (2, true, true)]);
}

#[tokio::test]
async fn a_seal_that_came_too_late_is_not_written() {
    let j = journal();
    let key = Key::from_hex(KEY).unwrap();
    post(&j, 1).await;
    let what = j.handle.unsealed().unwrap().unwrap();
    seal(&j, &key).await;
    assert!(!j.handle.seal(what, key.address(), key.sign_now(what.hash).unwrap()).await.unwrap());
    assert_eq!(holding(&j), [(1, true, true)]);
}

#[tokio::test]
async fn every_word_of_a_sealed_entry_counts() {
    for sql in [
        "UPDATE entries SET kind = 'late' WHERE id = 2",
        "UPDATE entries SET at_ms = at_ms + 1 WHERE id = 2",
        "UPDATE entries SET hold = (SELECT id FROM holds WHERE turn = 1) WHERE id = 2",
        "UPDATE lines SET amount = x'00000000000000000000000000000001' WHERE entry = 2 AND side = 'debit'",
        "UPDATE lines SET account = 'revenue:me' WHERE entry = 2 AND side = 'credit'",
        "UPDATE lines SET network = 1 WHERE entry = 2",
        "UPDATE lines SET side = CASE side WHEN 'debit' THEN 'credit' ELSE 'debit' END WHERE entry = 2",
        "DELETE FROM lines WHERE entry = 2",
        "DELETE FROM entries WHERE id = 2",
    ] {
        let j = sealed().await;
        tamper(&j, sql);
        assert_eq!(holding(&j), [(1, true, true), (2, false, true), (3, true, true)], "{sql}");
    }
}

#[tokio::test]
async fn a_removed_seal_leaves_a_gap_and_breaks_the_next() {
    let j = sealed().await;
    tamper(&j, "DELETE FROM seals WHERE id = 2");
    assert_eq!(holding(&j), [(1, true, true), (3, false, true)]);
}

#[tokio::test]
async fn a_seal_of_another_key_shows() {
    let j = sealed().await;
    let other = Key::from_hex(&format!("0x{}", "11".repeat(32))).unwrap();
    let hash = Ledger::open(&j.store.path).unwrap().seals().unwrap()[1].hash;
    let signature = alloy_primitives::hex::encode(other.sign_now(hash).unwrap().as_bytes());
    tamper(&j, &format!("UPDATE seals SET signature = x'{signature}' WHERE id = 2"));
    assert_eq!(holding(&j), [(1, true, true), (2, true, false), (3, true, true)]);
}

/// The form is documented: whoever recomputes it elsewhere depends on it.
#[test]
fn the_canonical_text_is_what_the_documentation_says() {
    use sha2::Digest as _;
    let asset = hold(1, 1).authorization.key.asset;
    let line = |account: &str, side| LineRow { account: account.to_owned(), side, asset, amount_atomic: 10 };
    let lines = vec![line("external:a\"\n", ::ledger::Side::Debit), line("revenue:b", ::ledger::Side::Credit)];
    let about = About::Hold(HoldId([0xab; 16]));
    let entry = EntryRow { id: 7, about, kind: "posted".to_owned(), at_ms: 5, lines };
    let gas = EntryRow {
        id: 8,
        about: About::ChainTx(B256::repeat_byte(1)),
        kind: "gas".to_owned(),
        at_ms: 6,
        lines: vec![],
    };
    let mut digest = SealDigest::after(Some(B256::repeat_byte(2)));
    digest.take(&entry);
    digest.take(&gas);
    let text = format!(
        "pontage seal 1\nafter 0x{}\nentry 7 posted payment {} at 5\n\
         debit external:a\\\"\\n 10 of eip155:84532/{asset}\ncredit revenue:b 10 of eip155:84532/{asset}\n\
         entry 8 gas chain_tx 0x{} at 6\n",
        "02".repeat(32),
        "ab".repeat(16),
        "01".repeat(32),
        asset = asset.address,
    );
    assert_eq!(digest.finish(), B256::from_slice(&sha2::Sha256::digest(text)));
}

#[tokio::test]
async fn a_reader_sees_one_moment_and_needs_no_lock() {
    let j = journal();
    post(&j, 1).await;
    let before = Ledger::open(&j.store.path).unwrap();
    post(&j, 2).await;
    assert_eq!((before.payments(0).unwrap().len(), before.entries(0).unwrap().len()), (1, 1));
    let after = Ledger::open(&j.store.path).unwrap();
    assert_eq!((after.payments(0).unwrap().len(), after.entries(0).unwrap().len()), (2, 2));
    let second = after.payments(1).unwrap().remove(0);
    assert_eq!((second.turn, second.record.hold.id, second.chain_tx), (2, HoldId([2; 16]), Some(B256::repeat_byte(8))));
    assert_eq!(after.payments_of_nonce(B256::repeat_byte(2)).unwrap(), std::slice::from_ref(&second));
    assert_eq!(after.payments_of_claim(&hold(2, 2).authorization.key).unwrap(), std::slice::from_ref(&second));
    assert_eq!(after.booked_twice().unwrap(), []);
    assert_eq!(after.payments_of_chain_tx(B256::repeat_byte(8)).unwrap().len(), 2);
    assert_eq!(after.payment(HoldId([2; 16])).unwrap(), Some(second));
    let entries = after.entries_of(About::Hold(HoldId([2; 16]))).unwrap();
    assert_eq!((entries[0].id, entries[0].lines.len()), (2, 2));
    let networks = after.networks().unwrap();
    assert_eq!((networks[0].holds, networks[0].first_block, networks[0].genesis), (2, 5, None));
}

#[test]
fn only_a_journal_of_this_version_is_read() {
    let j = journal();
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Ledger::open(&folder.path().join("none.db")), Err(OpenFault::Sqlite(_))));
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(Ledger::open(&foreign), Err(OpenFault::Foreign)));
    Connection::open(&j.store.path).unwrap().pragma_update(None, "user_version", 1).unwrap();
    assert!(matches!(Ledger::open(&j.store.path), Err(OpenFault::Schema { found: 1 })));
}

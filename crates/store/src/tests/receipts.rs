//! What receipts are made of.

use super::*;

fn row(hold: HoldId, at_ms: u64, response: Option<u8>) -> ReceiptRow {
    let response_hash = response.map(B256::repeat_byte);
    let request_hash = Some(B256::repeat_byte(6));
    ReceiptRow { hold, at_ms, method: "GET".to_owned(), path: "/paid".to_owned(), request_hash, response_hash }
}

/// A hold of this name.
async fn paid(j: &Journalled, nonce: u8, id: [u8; 16]) -> HoldId {
    assert!(won(&j.reserve(Hold { id: HoldId(id), ..hold(nonce, nonce) }, 1_000).await));
    HoldId(id)
}

#[tokio::test]
async fn a_row_is_found_by_its_payment_and_by_the_end_of_its_name() {
    let j = journal();
    let one = paid(&j, 1, [1; 16]).await;
    assert_eq!((j.handle.receipt(one).unwrap(), j.handle.receipt_named([1; 6]).unwrap()), (None, None));
    j.handle.keep_receipt(row(one, 5, None)).await.unwrap();
    assert_eq!(j.handle.receipt(one).unwrap(), Some(row(one, 5, None)));
    // The end of the answer adds to it, and nothing takes away.
    j.handle.keep_receipt(row(one, 9, Some(7))).await.unwrap();
    j.handle.keep_receipt(row(one, 9, None)).await.unwrap();
    assert_eq!(j.handle.receipt_named([1; 6]).unwrap(), Some(row(one, 5, Some(7))));
}

/// Two payments whose names end alike: nobody is given another's receipt.
#[tokio::test]
async fn a_name_that_two_have_is_nobodys() {
    let j = journal();
    let (mut id, same_end) = ([1; 16], [9; 6]);
    id[10..].copy_from_slice(&same_end);
    let one = paid(&j, 1, id).await;
    j.handle.keep_receipt(row(one, 5, Some(1))).await.unwrap();
    assert_eq!(j.handle.receipt_named(same_end).unwrap().map(|row| row.hold), Some(one));
    id[9] = 2;
    let two = paid(&j, 2, id).await;
    j.handle.keep_receipt(row(two, 5, Some(2))).await.unwrap();
    assert_eq!(j.handle.receipt_named(same_end).unwrap(), None);
    for hold in [one, two] {
        assert_eq!(j.handle.receipt(hold).unwrap().map(|row| row.hold), Some(hold));
    }
}

#[tokio::test]
async fn what_is_too_old_is_forgotten_however_much_it_is() {
    let j = journal();
    for nonce in 1..=3 {
        let hold = paid(&j, nonce, [nonce; 16]).await;
        j.handle.keep_receipt(row(hold, u64::from(nonce) * 10, None)).await.unwrap();
    }
    assert_eq!(j.handle.forget_receipts(10).await.unwrap(), 0);
    assert_eq!(j.handle.forget_receipts(21).await.unwrap(), 2);
    assert_eq!(j.handle.receipt(HoldId([2; 16])).unwrap(), None);
    assert_eq!(j.handle.receipt(HoldId([3; 16])).unwrap().map(|row| row.at_ms), Some(30));
}

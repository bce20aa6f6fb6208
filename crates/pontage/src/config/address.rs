//! Addresses: who is paid, and who passes unpaid.

use protocol::{Payee, Payer};

use super::reader::{Node, Reader};

const MAX_PAYERS: usize = 1_000;
const PAYEE_FIX: &str = "write the address that shall be paid: 0x and 40 hex digits. Its key is not needed.";
const PAYERS_FIX: &str = "write a list of addresses, each 0x and 40 hex digits.";

/// Who is paid; never the zero address.
pub(super) fn payee<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Payee> {
    let text = reader.text(node, PAYEE_FIX)?;
    match text.value.parse::<Payee>() {
        Ok(payee) if payee.0.is_zero() => {
            let what = "this is the zero address: what is paid to it is lost.";
            reader.mistake(&node.at, what, PAYEE_FIX)
        }
        Ok(payee) => Some(payee),
        Err(why) => reader.mistake(&node.at, format!("{} {why}.", text.shown()), PAYEE_FIX),
    }
}

/// Who is paid where the file names nobody else.
pub(super) fn provider<'d>(reader: &mut Reader<'d>, fields: &super::Fields<'d>) -> Option<Payee> {
    let node = reader.required(fields, "provider_address", PAYEE_FIX)?;
    payee(reader, &node)
}

/// A list of those who pass unpaid.
pub(super) fn payers<'d>(reader: &mut Reader<'d>, node: &Node<'d>) -> Option<Vec<Payer>> {
    let items = reader.items(node, PAYERS_FIX)?;
    if items.len() > MAX_PAYERS {
        let what = format!("{} addresses are more than {MAX_PAYERS}.", items.len());
        return reader.mistake(&node.at, what, "keep those that shall pass unpaid most often.");
    }
    let read: Vec<_> = items.iter().map(|item| payer(reader, item)).collect();
    read.into_iter().collect()
}

fn payer<'d>(reader: &mut Reader<'d>, item: &Node<'d>) -> Option<Payer> {
    let text = reader.text(item, PAYERS_FIX)?;
    match text.value.parse::<Payer>() {
        Ok(payer) if payer.0.is_zero() => {
            reader.mistake(&item.at, "this is the zero address, of which nobody has the key.", "remove it.")
        }
        Ok(payer) => Some(payer),
        Err(why) => reader.mistake(&item.at, format!("{} {why}.", text.shown()), PAYERS_FIX),
    }
}

//! A price as a formula over the call and its answer. A formula is a tree that was checked when it was read: every part of it is a
//! whole number, a truth or a text, by its type. It has no loops, so it costs no more steps than it has parts.

use super::{Asked, Reading};

/// A whole number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formula {
    /// As it is written.
    Whole(i64),
    /// Of the call, or its answer.
    Of(Field),
    /// `-a`
    Negative(Box<Self>),
    /// `a + b`
    Sum(Box<[Self; 2]>),
    /// `a - b`
    Difference(Box<[Self; 2]>),
    /// `a * b`
    Product(Box<[Self; 2]>),
    /// `a / b`, towards zero.
    Quotient(Box<[Self; 2]>),
    /// `ceil_div(a, b)`: the same, upwards.
    QuotientUp(Box<[Self; 2]>),
    /// `a % b`, with the sign of `a`.
    Remainder(Box<[Self; 2]>),
    /// `min(a, b)`
    Least(Box<[Self; 2]>),
    /// `max(a, b)`
    Most(Box<[Self; 2]>),
    /// `test ? a : b`
    Choice(Box<(Test, Self, Self)>),
    /// `size(text)`, in characters.
    Length(Phrase),
}

/// What a formula can ask for as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `request.size`: bytes of the body.
    RequestSize,
    /// `response.size`: bytes of the body that were given out.
    ResponseSize,
    /// `usage.NAME`: what the upstream reports under the name at a position; 0 before it does.
    Usage(usize),
    /// `time.hour`: 0 to 23, in UTC, when the call began.
    Hour,
    /// `time.minute`: 0 to 59.
    Minute,
    /// `time.weekday`: 0 is Sunday.
    Weekday,
    /// `volume.calls`: the account's calls of this month that were charged.
    VolumeCalls,
    /// `volume.amount`: what they were charged, in the account's unit.
    VolumeAmount,
}

/// A truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// As it is written.
    Is(bool),
    /// `!a`
    Not(Box<Self>),
    /// `a && b`
    Both(Box<[Self; 2]>),
    /// `a || b`
    Either(Box<[Self; 2]>),
    /// Two numbers side by side.
    Numbers(Comparison, Box<[Formula; 2]>),
    /// Two texts side by side: equal or not.
    Same(Phrase, Phrase),
    /// `a.startsWith(b)`
    Starts(Phrase, Phrase),
    /// `a.endsWith(b)`
    Ends(Phrase, Phrase),
    /// `a.contains(b)`
    Contains(Phrase, Phrase),
    /// `a in [1, 2]`
    NumberIn(Box<Formula>, Vec<Formula>),
    /// `a in ["x", "y"]`
    PhraseIn(Phrase, Vec<Phrase>),
}

/// How numbers stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phrase {
    /// As it is written.
    Text(String),
    /// `request.method`
    Method,
    /// `request.path`: the normalised one.
    Path,
    /// `request.query`: as it came, without the question mark; empty where there is none.
    Query,
    /// `request.headers["name"]`: of the one at a position; empty where it did not come.
    Header(usize),
}

/// Why a formula has no price for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPrice {
    /// A number is larger than 64 bits hold.
    #[error("a number of the formula does not fit into 64 bits")]
    TooLarge,
    /// Something is divided by zero.
    #[error("the formula divides by zero")]
    DividesByZero,
    /// The price would be below zero.
    #[error("the formula comes to less than zero")]
    Negative,
}

impl Formula {
    /// What it comes to.
    ///
    /// # Errors
    /// [`NoPrice`] where a number does not fit, or something is divided by zero.
    pub fn value(&self, asked: &Asked, reading: &Reading) -> Result<i64, NoPrice> {
        let value = |formula: &Self| formula.value(asked, reading);
        let pair = |pair: &[Self; 2]| {
            let [left, right] = pair;
            Ok((value(left)?, value(right)?))
        };
        let fits = |number: Option<i64>| number.ok_or(NoPrice::TooLarge);
        match self {
            Self::Whole(number) => Ok(*number),
            Self::Of(field) => Ok(field.value(asked, reading)),
            Self::Negative(inner) => fits(value(inner)?.checked_neg()),
            Self::Sum(of) => pair(of).and_then(|(left, right)| fits(left.checked_add(right))),
            Self::Difference(of) => pair(of).and_then(|(left, right)| fits(left.checked_sub(right))),
            Self::Product(of) => pair(of).and_then(|(left, right)| fits(left.checked_mul(right))),
            Self::Quotient(of) => pair(of).and_then(|(left, right)| divided(left, right)),
            Self::QuotientUp(of) => {
                let (left, right) = pair(of)?;
                let down = divided(left, right)?;
                let above = left.checked_rem(right) != Some(0) && (left < 0) == (right < 0);
                fits(down.checked_add(i64::from(above)))
            }
            Self::Remainder(of) => match pair(of)? {
                (_, 0) => Err(NoPrice::DividesByZero),
                (left, right) => fits(left.checked_rem(right)),
            },
            Self::Least(of) => pair(of).map(|(left, right)| left.min(right)),
            Self::Most(of) => pair(of).map(|(left, right)| left.max(right)),
            Self::Choice(choice) => {
                let (test, then, other) = choice.as_ref();
                value(if test.holds(asked, reading)? { then } else { other })
            }
            Self::Length(phrase) => Ok(i64::try_from(phrase.text(asked).chars().count()).unwrap_or(i64::MAX)),
        }
    }
}

fn divided(left: i64, right: i64) -> Result<i64, NoPrice> {
    if right == 0 {
        return Err(NoPrice::DividesByZero);
    }
    left.checked_div(right).ok_or(NoPrice::TooLarge)
}

impl Field {
    /// Whether it is known only once the upstream has answered.
    #[must_use]
    pub const fn is_after(self) -> bool {
        matches!(self, Self::ResponseSize | Self::Usage(_))
    }

    fn value(self, asked: &Asked, reading: &Reading) -> i64 {
        let whole = match self {
            Self::RequestSize => asked.size,
            Self::ResponseSize => reading.size,
            Self::Usage(position) => reading.usage.get(position).copied().flatten().unwrap_or_default(),
            Self::Hour => asked.hour(),
            Self::Minute => asked.minute(),
            Self::Weekday => asked.weekday(),
            Self::VolumeCalls => asked.volume.calls,
            Self::VolumeAmount => asked.volume.amount,
        };
        i64::try_from(whole).unwrap_or(i64::MAX)
    }
}

impl Test {
    /// Whether it is so. Of two that are joined, the one that decides does, also where the other has no value.
    fn holds(&self, asked: &Asked, reading: &Reading) -> Result<bool, NoPrice> {
        let holds = |test: &Self| test.holds(asked, reading);
        let joined = |pair: &[Self; 2], decides: bool| {
            let [left, right] = pair;
            match (holds(left), holds(right)) {
                (Ok(truth), _) | (_, Ok(truth)) if truth == decides => Ok(decides),
                (Err(why), _) | (_, Err(why)) => Err(why),
                (Ok(_), Ok(_)) => Ok(!decides),
            }
        };

        match self {
            Self::Is(truth) => Ok(*truth),
            Self::Not(inner) => holds(inner).map(|truth| !truth),
            Self::Both(pair) => joined(pair, false),
            Self::Either(pair) => joined(pair, true),
            Self::Numbers(how, pair) => {
                let [left, right] = pair.as_ref();
                let (left, right) = (left.value(asked, reading)?, right.value(asked, reading)?);
                Ok(match how {
                    Comparison::Equal => left == right,
                    Comparison::Less => left < right,
                    Comparison::AtMost => left <= right,
                })
            }
            Self::Same(left, right) => Ok(left.text(asked) == right.text(asked)),
            Self::Starts(whole, part) => Ok(whole.text(asked).starts_with(part.text(asked))),
            Self::Ends(whole, part) => Ok(whole.text(asked).ends_with(part.text(asked))),
            Self::Contains(whole, part) => Ok(whole.text(asked).contains(part.text(asked))),
            Self::NumberIn(number, list) => {
                let number = number.value(asked, reading)?;
                for item in list {
                    if item.value(asked, reading)? == number {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::PhraseIn(phrase, list) => Ok(list.iter().any(|item| item.text(asked) == phrase.text(asked))),
        }
    }
}

impl Phrase {
    fn text<'a>(&'a self, asked: &'a Asked) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Method => &asked.method,
            Self::Path => &asked.path,
            Self::Query => &asked.query,
            Self::Header(position) => asked.headers.get(*position).map_or("", String::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(number: i64) -> Formula {
        Formula::Whole(number)
    }

    fn value(formula: &Formula) -> Result<i64, NoPrice> {
        formula.value(&Asked::default(), &Reading::default())
    }

    #[test]
    fn quotients_table() {
        for (left, right, down, up) in [
            (7, 2, Ok(3), Ok(4)),
            (6, 2, Ok(3), Ok(3)),
            (0, 5, Ok(0), Ok(0)),
            (-7, 2, Ok(-3), Ok(-3)),
            (7, -2, Ok(-3), Ok(-3)),
            (-7, -2, Ok(3), Ok(4)),
            (1, 0, Err(NoPrice::DividesByZero), Err(NoPrice::DividesByZero)),
            (i64::MIN, -1, Err(NoPrice::TooLarge), Err(NoPrice::TooLarge)),
            (i64::MAX, 1, Ok(i64::MAX), Ok(i64::MAX)),
        ] {
            let of = || Box::new([whole(left), whole(right)]);
            assert_eq!(value(&Formula::Quotient(of())), down, "{left} / {right}");
            assert_eq!(value(&Formula::QuotientUp(of())), up, "ceil_div({left}, {right})");
        }
    }

    #[test]
    fn a_test_that_decides_does_whatever_the_other_is() {
        let fails = || {
            let zero = Formula::Quotient(Box::new([whole(1), whole(0)]));
            Test::Numbers(Comparison::Equal, Box::new([zero, whole(1)]))
        };
        let holds = |test: Test| test.holds(&Asked::default(), &Reading::default());
        for (test, want) in [
            (Test::Both(Box::new([fails(), Test::Is(false)])), Ok(false)),
            (Test::Both(Box::new([Test::Is(false), fails()])), Ok(false)),
            (Test::Both(Box::new([fails(), Test::Is(true)])), Err(NoPrice::DividesByZero)),
            (Test::Either(Box::new([fails(), Test::Is(true)])), Ok(true)),
            (Test::Either(Box::new([Test::Is(false), fails()])), Err(NoPrice::DividesByZero)),
            (Test::Not(Box::new(fails())), Err(NoPrice::DividesByZero)),
        ] {
            assert_eq!(holds(test.clone()), want, "{test:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_no_price() {
        let of = || Box::new([whole(i64::MAX), whole(2)]);
        for formula in [Formula::Sum(of()), Formula::Product(of()), Formula::Negative(Box::new(whole(i64::MIN)))] {
            assert_eq!(value(&formula), Err(NoPrice::TooLarge), "{formula:?}");
        }
    }
}

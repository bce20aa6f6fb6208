//! `formula`: a price in CEL, made into a tree of whole numbers. What could come to a double is refused here, with its place, so that
//! nothing that is not a whole number is left when calls are priced.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use cel::parser::Parser;
use gate::price::{Coin, Comparison, Field, Formula, Phrase, Test, UsageSource};
use protocol::parse_decimal;

/// Longer ones belong into a price endpoint.
const FORMULA_MAX_BYTES: usize = 1_000;
const HEADERS_MAX: usize = 8;
const HEADER_NAME_MAX: usize = 64;
/// Headers whose values are secrets, or are not seen by all who stand before the gate.
const UNREAD: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];
/// Beyond this neither the reading nor what is read from it goes any deeper.
const DEPTH_MAX: u16 = 40;
const MICRO_DECIMALS: u8 = 6;
/// Only what is touched of it is taken.
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// What is wrong with a formula, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// From 1; characters of the text. 0 where it is the whole.
    pub(super) character: usize,
    pub(super) what: String,
}

/// Reads a formula; with it come the names of the headers that it reads.
pub(super) fn formula(text: &str, usage: &[UsageSource], coin: Coin) -> Result<(Formula, Vec<String>), Wrong> {
    if text.len() > FORMULA_MAX_BYTES {
        let what = format!("it has {} bytes, more than {FORMULA_MAX_BYTES}", text.len());
        return Err(Wrong { character: 0, what });
    }
    let (expr, source) = parsed(text)?;
    let mut typist = Typist { usage, coin, headers: Vec::new() };
    let at = |(id, what): Mistyped| {
        let bytes = source.offset_for(id).map_or(0, |(start, _)| usize::try_from(start).unwrap_or_default());
        let character = text.get(..bytes).map_or(bytes, |before| before.chars().count());
        Wrong { character: character.saturating_add(1), what }
    };
    let read = typist.number(&expr).map_err(at)?;
    Ok((read, typist.headers))
}

/// The expression, and where its parts are. The parser needs more stack for each level than a thread may have: it gets one of its own.
fn parsed(text: &str) -> Result<(IdedExpr, SourceInfo), Wrong> {
    let parse = || {
        let parsed = Parser::new().max_recursion_depth(DEPTH_MAX).parse_with_source_info(text);
        parsed.map_err(|errors| {
            let first = errors.errors.first();
            let column = first.map_or(0, |error| usize::try_from(error.pos.1).unwrap_or_default());
            let what = first.map_or("it is no expression", |error| error.msg.lines().next().unwrap_or_default());
            Wrong { character: column, what: format!("it is no CEL: {what}") }
        })
    };
    let gone = || Wrong { character: 0, what: "it cannot be read".to_owned() };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn_scoped(scope, parse);
        thread.ok().and_then(|thread| thread.join().ok())
    })
    .unwrap_or_else(|| Err(gone()))
}

/// Of which part, and what.
type Mistyped = (u64, String);

/// Gives each part its type.
struct Typist<'a> {
    usage: &'a [UsageSource],
    coin: Coin,
    headers: Vec<String>,
}

enum Typed {
    Number(Formula),
    Truth(Test),
    Phrase(Phrase),
}

impl Typed {
    fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "a whole number",
            Self::Truth(_) => "true or false",
            Self::Phrase(_) => "a text",
        }
    }
}

fn wrong<T>(expr: &IdedExpr, what: impl Into<String>) -> Result<T, Mistyped> {
    Err((expr.id, what.into()))
}

impl Typist<'_> {
    fn number(&mut self, expr: &IdedExpr) -> Result<Formula, Mistyped> {
        match self.typed(expr)? {
            Typed::Number(number) => Ok(number),
            other => wrong(expr, format!("{} stands where a whole number belongs", other.kind())),
        }
    }

    fn truth(&mut self, expr: &IdedExpr) -> Result<Test, Mistyped> {
        match self.typed(expr)? {
            Typed::Truth(test) => Ok(test),
            other => wrong(expr, format!("{} stands where true or false belongs", other.kind())),
        }
    }

    fn phrase(&mut self, expr: &IdedExpr) -> Result<Phrase, Mistyped> {
        match self.typed(expr)? {
            Typed::Phrase(phrase) => Ok(phrase),
            other => wrong(expr, format!("{} stands where a text belongs", other.kind())),
        }
    }

    fn typed(&mut self, expr: &IdedExpr) -> Result<Typed, Mistyped> {
        match &expr.expr {
            Expr::Literal(literal) => Self::literal(expr, literal),
            Expr::Select(select) => self.name(expr, select),
            Expr::Call(call) => self.call(expr, call),
            Expr::Ident(name) => wrong(expr, format!("there is no `{name}` here")),
            Expr::Comprehension(_) => wrong(expr, "loops over lists are not read in prices"),
            Expr::List(_) => wrong(expr, "a list stands where no list belongs; it goes behind `in`"),
            Expr::Map(_) | Expr::Struct(_) => wrong(expr, "maps and messages are not read in prices"),
            Expr::Unspecified => wrong(expr, "there is nothing"),
        }
    }

    fn literal(expr: &IdedExpr, literal: &LiteralValue) -> Result<Typed, Mistyped> {
        match literal {
            LiteralValue::Int(number) => Ok(Typed::Number(Formula::Whole(*number.inner()))),
            LiteralValue::Boolean(truth) => Ok(Typed::Truth(Test::Is(*truth.inner()))),
            LiteralValue::String(text) => Ok(Typed::Phrase(Phrase::Text(text.inner().to_owned()))),
            LiteralValue::Double(double) => {
                let fix = "prices are whole numbers; write an amount of dollars as usd(\"0.01\")";
                wrong(expr, format!("{} is a double: {fix}", double.inner()))
            }
            LiteralValue::UInt(_) => wrong(expr, "write whole numbers without u"),
            LiteralValue::Bytes(_) => wrong(expr, "bytes are not read in prices"),
            LiteralValue::Null => wrong(expr, "null is no number"),
        }
    }

    /// `request.size` and its like.
    fn name(&mut self, expr: &IdedExpr, select: &SelectExpr) -> Result<Typed, Mistyped> {
        let Expr::Ident(of) = &select.operand.expr else { return wrong(expr, "this is no name of a price") };
        let of_call = |field| Ok(Typed::Number(Formula::Of(field)));
        if select.test {
            return wrong(expr, "has() is not read in prices: what is not there is 0, or empty");
        }
        match (of.as_str(), select.field.as_str()) {
            ("request", "size") => of_call(Field::RequestSize),
            ("request", "method") => Ok(Typed::Phrase(Phrase::Method)),
            ("request", "path") => Ok(Typed::Phrase(Phrase::Path)),
            ("request", "query") => Ok(Typed::Phrase(Phrase::Query)),
            ("response", "size") => of_call(Field::ResponseSize),
            ("time", "hour") => of_call(Field::Hour),
            ("time", "minute") => of_call(Field::Minute),
            ("time", "weekday") => of_call(Field::Weekday),
            ("volume", "calls") => of_call(Field::VolumeCalls),
            ("volume", "amount") => of_call(Field::VolumeAmount),
            ("usage", name) => match self.usage.iter().position(|usage| usage.name == name) {
                Some(position) => of_call(Field::Usage(position)),
                None => wrong(expr, format!("`usage` of this price has no {name}")),
            },
            (of, field) => wrong(expr, format!("there is no `{of}.{field}` here")),
        }
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Result<Typed, Mistyped> {
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::INDEX, None, [of, name]) => self.header(expr, of, name),
            (operators::CONDITIONAL, None, [test, then, other]) => {
                let choice = (self.truth(test)?, self.number(then)?, self.number(other)?);
                Ok(Typed::Number(Formula::Choice(Box::new(choice))))
            }
            (operators::NEGATE, None, [inner]) => Ok(Typed::Number(Formula::Negative(Box::new(self.number(inner)?)))),
            (operators::LOGICAL_NOT, None, [inner]) => Ok(Typed::Truth(Test::Not(Box::new(self.truth(inner)?)))),
            (operators::IN, None, [item, list]) => self.is_in(item, list),
            ("size", Some(text), []) | ("size", None, [text]) => Ok(Typed::Number(Formula::Length(self.phrase(text)?))),
            ("usd", None, [amount]) => self.dollars(amount),
            ("startsWith" | "endsWith" | "contains", Some(whole), [part]) => {
                let (whole, part) = (self.phrase(whole)?, self.phrase(part)?);
                Ok(Typed::Truth(match call.func_name.as_str() {
                    "startsWith" => Test::Starts(whole, part),
                    "endsWith" => Test::Ends(whole, part),
                    _ => Test::Contains(whole, part),
                }))
            }
            (name, None, [left, right]) => self.pair(expr, name, left, right),
            ("double", ..) => wrong(expr, "double() comes to a double: prices are whole numbers"),
            (name, ..) => wrong(expr, format!("there is no `{name}` of this form in prices")),
        }
    }

    fn pair(&mut self, expr: &IdedExpr, name: &str, left: &IdedExpr, right: &IdedExpr) -> Result<Typed, Mistyped> {
        let number = match name {
            operators::ADD => Formula::Sum,
            operators::SUBSTRACT => Formula::Difference,
            operators::MULTIPLY => Formula::Product,
            operators::DIVIDE => Formula::Quotient,
            operators::MODULO => Formula::Remainder,
            "ceil_div" => Formula::QuotientUp,
            "min" => Formula::Least,
            "max" => Formula::Most,
            _ => return self.compared(expr, name, left, right),
        };
        Ok(Typed::Number(number(Box::new([self.number(left)?, self.number(right)?]))))
    }

    fn compared(&mut self, expr: &IdedExpr, name: &str, left: &IdedExpr, right: &IdedExpr) -> Result<Typed, Mistyped> {
        let (how, swaps, negates) = match name {
            operators::LOGICAL_AND => {
                return Ok(Typed::Truth(Test::Both(Box::new([self.truth(left)?, self.truth(right)?]))));
            }
            operators::LOGICAL_OR => {
                return Ok(Typed::Truth(Test::Either(Box::new([self.truth(left)?, self.truth(right)?]))));
            }
            operators::EQUALS => (Comparison::Equal, false, false),
            operators::NOT_EQUALS => (Comparison::Equal, false, true),
            operators::LESS => (Comparison::Less, false, false),
            operators::LESS_EQUALS => (Comparison::AtMost, false, false),
            operators::GREATER => (Comparison::Less, true, false),
            operators::GREATER_EQUALS => (Comparison::AtMost, true, false),
            other => return wrong(expr, format!("there is no `{other}` of this form in prices")),
        };
        let test = match (self.typed(left)?, self.typed(right)?) {
            (Typed::Number(left), Typed::Number(right)) => {
                Test::Numbers(how, Box::new(if swaps { [right, left] } else { [left, right] }))
            }
            (Typed::Phrase(left), Typed::Phrase(right)) if how == Comparison::Equal => Test::Same(left, right),
            (left, right) => {
                let (left, right) = (left.kind(), right.kind());
                return wrong(expr, format!("{left} and {right} are not compared in this way"));
            }
        };
        Ok(Typed::Truth(if negates { Test::Not(Box::new(test)) } else { test }))
    }

    fn is_in(&mut self, item: &IdedExpr, list: &IdedExpr) -> Result<Typed, Mistyped> {
        let Expr::List(items) = &list.expr else { return wrong(list, "write a list, such as [\"a\", \"b\"]") };
        let items = items.elements.iter();
        Ok(Typed::Truth(match self.typed(item)? {
            Typed::Number(number) => {
                let list = items.map(|item| self.number(item)).collect::<Result<_, _>>()?;
                Test::NumberIn(Box::new(number), list)
            }
            Typed::Phrase(phrase) => {
                Test::PhraseIn(phrase, items.map(|item| self.phrase(item)).collect::<Result<_, _>>()?)
            }
            Typed::Truth(_) => return wrong(item, "true or false is not looked for in lists"),
        }))
    }

    /// `request.headers["x-model"]`
    fn header(&mut self, expr: &IdedExpr, of: &IdedExpr, name: &IdedExpr) -> Result<Typed, Mistyped> {
        let is_headers = matches!(&of.expr, Expr::Select(SelectExpr { operand, field, test: false })
            if field == "headers" && matches!(&operand.expr, Expr::Ident(of) if of == "request"));
        let Expr::Literal(LiteralValue::String(name_text)) = &name.expr else {
            return wrong(name, "write the name of a header, such as \"x-model\"");
        };
        if !is_headers {
            return wrong(expr, "only request.headers is looked into");
        }
        let wanted = name_text.inner().to_ascii_lowercase();
        let is_name = (1..=HEADER_NAME_MAX).contains(&wanted.len()) && http::HeaderName::try_from(&wanted).is_ok();
        if !is_name || UNREAD.contains(&wanted.as_str()) {
            return wrong(name, format!("{wanted:?} is not a header that a price may read"));
        }
        let position = match self.headers.iter().position(|known| *known == wanted) {
            Some(position) => position,
            None if self.headers.len() >= HEADERS_MAX => {
                return wrong(name, format!("a price reads at most {HEADERS_MAX} headers"));
            }
            None => {
                self.headers.push(wanted);
                self.headers.len().saturating_sub(1)
            }
        };
        Ok(Typed::Phrase(Phrase::Header(position)))
    }

    /// `usd("0.01")`: millionths of a dollar.
    fn dollars(&mut self, amount: &IdedExpr) -> Result<Typed, Mistyped> {
        let Expr::Literal(LiteralValue::String(text)) = &amount.expr else {
            return wrong(amount, "write the amount in quotes, such as usd(\"0.01\")");
        };
        if self.coin != Coin::Micros {
            return wrong(amount, "this price is in credits: write whole numbers of them");
        }
        match parse_decimal(text.inner(), MICRO_DECIMALS).ok().and_then(|micros| i64::try_from(micros).ok()) {
            Some(micros) => Ok(Typed::Number(Formula::Whole(micros))),
            None => wrong(amount, format!("{:?} is no amount of dollars with at most six places", text.inner())),
        }
    }
}

#[cfg(test)]
mod tests;

//! Rules of targetings: expressions of the Common Expression Language over the evaluation context.
//!
//! A rule sees each attribute of the context as a variable, and all of them as the map `context`, which tells whether
//! there is one: `has(context.plan)`. What it can call is in [`FUNCTIONS`]; there are no regular expressions.
//!
//! # Bounds
//!
//! A rule is written by one party and evaluated with what another one sends, in a server that both share with others. So:
//!
//! - Its text, its nesting and its number of terms are bounded when it is compiled. The interpreter takes up to a hundred
//!   kilobytes of stack per operation in operation, so it is given a stack of its own if too little is left ([`with_stack`]).
//! - Evaluating is metered. CEL has no endless loops, but loops in loops, and texts that double in every turn, come close.
//!   The compiled expression is rewritten so that every operand passes a meter, which takes from the fuel as much as the
//!   operand is large. A rule that runs out of fuel fails; so do all rules after the fuel of the whole request is gone.

use std::{
    cell::Cell,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cel::{
    Context, Env, ExecutionError, FunctionContext, IdedExpr, Value as CelValue,
    common::{
        ast::{CallExpr, EntryExpr, Expr, operators},
        types::{CelBool, CelBytes, CelList, CelMap, CelString},
        value::{CowVal, Val},
    },
    objects::Key,
    parser::PrattParser,
};
use serde_json::{Map, Value};

/// Longest rule, in characters.
pub const MAX_RULE: usize = 2_000;
/// Brackets in brackets.
const MAX_BRACKETS: u16 = 32;
/// Operations in operations.
const MAX_DEPTH: usize = 32;
/// What the deepest rule needs, with something to spare, in bytes.
const NEEDED_STACK: usize = 4 * 1024 * 1024;
/// Operands and operations in one rule.
const MAX_NODES: usize = 1_000;
/// What one rule may use up: about one unit per operand, and one more per element and per eight bytes of text.
const RULE_FUEL: u64 = 200_000;
/// What all rules evaluated for one request may use up.
const REQUEST_FUEL: u64 = 1_000_000;
/// Longest reason why a rule failed, in characters.
const MAX_REASON: usize = 200;

/// Name of the meter; no rule can say it, since `@` is not in the language.
const METER: &str = "@meter";

/// What rules can call, besides the macros `has`, `all`, `exists`, `exists_one`, `map` and `filter`.
pub const FUNCTIONS: [&str; 9] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "string",
    "bool",
];

/// What the parser makes of operators and macros.
const OPERATORS: [&str; 18] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
];

/// A rule that can be evaluated.
#[derive(Debug)]
pub struct Rule(IdedExpr);

/// Why a text is no rule. As a message: what is wrong, and at which line and column, both from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a rule: line {line}, column {column}: {message}")]
pub struct RuleError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl Rule {
    /// Reads a rule.
    pub fn compile(source: &str) -> Result<Self, RuleError> {
        // Parsing goes as deep as the text is long, before it can be told that this is too deep.
        with_stack(|| Self::read(source))
    }

    fn read(source: &str) -> Result<Self, RuleError> {
        let at_start = |message: &str| RuleError {
            line: 1,
            column: 1,
            message: message.to_owned(),
        };
        if source.trim().is_empty() {
            return Err(at_start("it is empty"));
        }
        if source.chars().count() > MAX_RULE {
            return Err(at_start(&format!("it is longer than {MAX_RULE} characters")));
        }
        if brackets(source) > MAX_BRACKETS.into() {
            return Err(at_start("it is too complex"));
        }
        let parser = PrattParser::new()
            .max_recursion_depth(MAX_BRACKETS)
            .error_recovery_limit(2);
        let expression = parser.parse(source).map_err(|errors| first_of(&errors))?;
        let nodes = Cell::new(0);
        inspect(&expression, 1, &nodes).map_err(|refusal| match refusal {
            Refusal::TooComplex => at_start("it is too complex"),
            Refusal::Unknown(name) => {
                let (line, column) = position_of_call(source, &name);
                let message = format!("there is no function {name:?}");
                RuleError {
                    line,
                    column,
                    message,
                }
            }
            Refusal::Message => at_start("messages cannot be made here"),
        })?;
        Ok(Self(metered(expression)))
    }

    /// Whether it holds for these attributes; an error says why that cannot be told.
    pub fn matches(&self, attributes: &Attributes) -> Result<bool, String> {
        attributes.fuel.begin();
        let evaluate = || CelValue::resolve_val(&self.0, &attributes.context);
        let value = with_stack(evaluate).map_err(|error| shorten(&error))?;
        match value.downcast_ref::<CelBool>() {
            Some(holds) => Ok(*holds.inner()),
            None => Err(format!(
                "the result is not a bool but a {}",
                value.get_type().name()
            )),
        }
    }
}

/// Does `work` with as much stack as a rule needs. Whoever evaluates many rules does all of them within one such call.
pub(super) fn with_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(NEEDED_STACK, 2 * NEEDED_STACK, work)
}

/// What rules see, with the fuel of one request.
pub struct Attributes {
    context: Context<'static, 'static>,
    fuel: Arc<Fuel>,
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attributes")
            .field("fuel", &self.fuel)
            .finish_non_exhaustive()
    }
}

impl Attributes {
    /// Those of an evaluation context.
    pub fn new(context: &Map<String, Value>) -> Self {
        static LANGUAGE: LazyLock<Arc<Env>> =
            LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));
        let fuel = Arc::new(Fuel::default());
        let mut scope = Context::with_env(Arc::clone(&LANGUAGE));
        for (name, value) in context {
            scope.add_variable_from_value(name.as_str(), convert(value));
        }
        // An attribute of that name is `context.context`.
        scope.add_variable_from_value("context", object(context));
        #[expect(clippy::expect_used, reason = "the language has no function of that name")]
        scope
            .add_function(METER, meter(Arc::clone(&fuel)))
            .expect("a name that is free");
        Self { context: scope, fuel }
    }
}

/// What is left to use up.
#[derive(Debug)]
struct Fuel {
    rule: AtomicU64,
    request: AtomicU64,
}

impl Default for Fuel {
    fn default() -> Self {
        Self {
            rule: AtomicU64::new(0),
            request: AtomicU64::new(REQUEST_FUEL),
        }
    }
}

impl Fuel {
    fn begin(&self) {
        let left = self.request.load(Ordering::Relaxed);
        self.rule.store(left.min(RULE_FUEL), Ordering::Relaxed);
    }

    /// Takes what `value` costs. One thread evaluates, so that there is nobody to race with.
    fn take(&self, value: &dyn Val) -> Result<(), ExecutionError> {
        let left = self.rule.load(Ordering::Relaxed);
        let cost = cost(value, left);
        let taken = cost.unwrap_or(left);
        self.rule.store(left - taken, Ordering::Relaxed);
        let request = self.request.load(Ordering::Relaxed);
        self.request
            .store(request.saturating_sub(taken), Ordering::Relaxed);
        match cost {
            Some(_) => Ok(()),
            None => Err(ExecutionError::InternalError(
                "it takes too long to evaluate".to_owned(),
            )),
        }
    }
}

/// How many units a value costs; nothing if that is more than `limit`.
fn cost(value: &dyn Val, limit: u64) -> Option<u64> {
    let mut cost = 1;
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        cost += text.inner().len() as u64 / 8;
    } else if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
        cost += bytes.inner().len() as u64 / 8;
    } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        for item in list.inner() {
            cost += self::cost(item.as_ref(), limit.checked_sub(cost)?)?;
        }
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        for (key, item) in map.inner() {
            cost += self::cost(key.inner(), limit.checked_sub(cost)?)?;
            cost += self::cost(item.as_ref(), limit.checked_sub(cost)?)?;
        }
    }
    (cost <= limit).then_some(cost)
}

type Function = Box<
    dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> + Send + Sync,
>;

/// Takes from the fuel what its operand costs, and hands it on.
fn meter(fuel: Arc<Fuel>) -> Function {
    Box::new(move |call| {
        let operand = call
            .args
            .pop()
            .ok_or_else(ExecutionError::missing_argument_or_target)?;
        fuel.take(operand.as_ref())?;
        Ok(operand)
    })
}

/// How deep brackets are nested at most, those in texts included. The parser limits this too, but not in every case.
fn brackets(source: &str) -> usize {
    let depths = source.chars().scan(0_usize, |depth, character| {
        match character {
            '(' | '[' | '{' => *depth += 1,
            ')' | ']' | '}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    depths.max().unwrap_or_default()
}

/// Why an expression of the language is no rule.
enum Refusal {
    TooComplex,
    Unknown(String),
    Message,
}

fn inspect(expression: &IdedExpr, depth: usize, nodes: &Cell<usize>) -> Result<(), Refusal> {
    nodes.set(nodes.get() + 1);
    if depth > MAX_DEPTH || nodes.get() > MAX_NODES {
        return Err(Refusal::TooComplex);
    }
    let inner = |expression: &IdedExpr| inspect(expression, depth + 1, nodes);
    match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            let known = OPERATORS.contains(&name) || name == operators::NOT_STRICTLY_FALSE;
            if !known && !FUNCTIONS.contains(&name) {
                return Err(Refusal::Unknown(name.to_owned()));
            }
            call.target.iter().try_for_each(|target| inner(target))?;
            call.args.iter().try_for_each(inner)
        }
        Expr::Select(select) => inner(&select.operand),
        Expr::List(list) => list.elements.iter().try_for_each(inner),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                inner(&entry.key)?;
                inner(&entry.value)
            }
            EntryExpr::StructField(_) => Err(Refusal::Message),
        }),
        Expr::Comprehension(each) => {
            inner(&each.iter_range)?;
            inner(&each.loop_step)
        }
        Expr::Struct(_) => Err(Refusal::Message),
    }
}

/// Sends every operand through the meter. What a macro expands to keeps its form, by which the interpreter knows it.
fn metered(expression: IdedExpr) -> IdedExpr {
    let IdedExpr { id, expr } = expression;
    let expr = match expr {
        Expr::Call(mut call) => {
            let branches = call.func_name == operators::CONDITIONAL;
            let operands = call.args.into_iter().enumerate();
            call.args = operands
                .map(|(index, operand)| match &operand.expr {
                    // Only one branch is evaluated, and it is somebody else's operand. A list's elements are metered.
                    _ if branches && index > 0 => metered(operand),
                    Expr::List(_) => metered(operand),
                    _ => charged(metered(operand)),
                })
                .collect();
            call.target = call.target.map(|target| Box::new(charged(metered(*target))));
            Expr::Call(call)
        }
        Expr::Select(mut select) => {
            select.operand = Box::new(metered(*select.operand));
            Expr::Select(select)
        }
        Expr::List(mut list) => {
            let elements = list.elements.into_iter();
            list.elements = elements.map(|element| charged(metered(element))).collect();
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    entry.key = charged(metered(std::mem::take(&mut entry.key)));
                    entry.value = charged(metered(std::mem::take(&mut entry.value)));
                }
            }
            Expr::Map(map)
        }
        Expr::Comprehension(mut each) => {
            each.iter_range = charged(metered(each.iter_range));
            each.loop_step = metered(each.loop_step);
            Expr::Comprehension(each)
        }
        other => other,
    };
    IdedExpr { id, expr }
}

fn charged(operand: IdedExpr) -> IdedExpr {
    match &operand.expr {
        // As large as it is in the rule, which is bounded.
        Expr::Literal(_) => operand,
        // What a macro gathers: known by its form, and metered element by element.
        Expr::Ident(name) if name.starts_with('@') => operand,
        _ => IdedExpr {
            id: operand.id,
            expr: Expr::Call(CallExpr {
                func_name: METER.to_owned(),
                target: None,
                args: vec![operand],
            }),
        },
    }
}

fn object(map: &Map<String, Value>) -> CelValue {
    let entries = map.iter();
    let map: std::collections::HashMap<Key, CelValue> = entries
        .map(|(key, value)| (Key::from(key.as_str()), convert(value)))
        .collect();
    CelValue::Map(map.into())
}

fn convert(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => CelValue::Int(value),
            (None, Some(value)) => CelValue::UInt(value),
            (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::from(text.as_str()),
        Value::Array(items) => CelValue::List(items.iter().map(convert).collect::<Vec<_>>().into()),
        Value::Object(map) => object(map),
    }
}

/// The first error with a place; what only says that a limit was reached has none.
fn first_of(errors: &cel::ParseErrors) -> RuleError {
    let placed = errors.errors.iter().find(|error| error.pos.0 > 0);
    let Some(error) = placed.or(errors.errors.first()) else {
        return RuleError {
            line: 1,
            column: 1,
            message: "it cannot be read".to_owned(),
        };
    };
    let from_1 = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    RuleError {
        line: from_1(error.pos.0),
        column: from_1(error.pos.1),
        message: shorten(&error.msg.trim_start_matches("Syntax error: ")),
    }
}

/// Line and column, from 1, at which a function of this name is called first.
fn position_of_call(source: &str, name: &str) -> (usize, usize) {
    let called = |(at, _): &(usize, &str)| {
        let before = source[..*at].chars().next_back();
        let part_of_name = |character: char| character.is_alphanumeric() || character == '_';
        !before.is_some_and(part_of_name) && source[at + name.len()..].trim_start().starts_with('(')
    };
    let at = source.match_indices(name).find(called).map_or(0, |(at, _)| at);
    let before = &source[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

fn shorten(reason: &impl ToString) -> String {
    let text = reason.to_string();
    match text.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;

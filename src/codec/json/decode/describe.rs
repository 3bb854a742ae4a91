//! What a record has instead of what was expected: for messages, off the usual way.

use super::Decoder;
use super::malformed::BYTE_ORDER_MARK;
use crate::codec::NanPolicy;
use crate::codec::json::scan::{Cursor, Malformed};
use crate::printable::{listed, shown};

impl Decoder {
    /// What a record that was decoded has where the features were looked for.
    pub fn describe(&self, payload: &[u8]) -> String {
        self.try_describe(payload).unwrap_or_else(|_| "its members can't be listed".into())
    }

    fn try_describe(&self, payload: &[u8]) -> Result<String, Malformed> {
        let mut cursor = Cursor::with_not_finite(payload, self.nan == NanPolicy::Missing);
        cursor.eat(BYTE_ORDER_MARK);
        cursor.whitespace();
        let mut place = "the record".to_owned();
        for (level, step) in self.path.iter().enumerate() {
            let path = shown(&self.path[..=level].join("."));
            let members = members(cursor)?;
            match members.iter().rev().find(|member| member.name == *step) {
                Some(member) if member.value.peek() == b'n' => {
                    return Ok(format!("{path} is null, {place} has {}", list(&members)));
                }
                Some(member) => cursor = member.value,
                None => return Ok(format!("there is no {path}, {place} has {}", list(&members))),
            }
            place = path;
        }
        Ok(match cursor.peek() {
            b'{' => format!("{place} has {}", list(&members(cursor)?)),
            _ => format!("{place} is an array of nulls"),
        })
    }
}

struct MemberFound<'a> {
    name: String,
    /// At its value.
    value: Cursor<'a>,
}

/// The members of the object that starts at the cursor.
fn members(mut cursor: Cursor<'_>) -> Result<Vec<MemberFound<'_>>, Malformed> {
    let (mut members, mut scratch) = (Vec::new(), Vec::new());
    let mut more = cursor.open(b'}')?;
    while more {
        let name = String::from_utf8_lossy(cursor.key()?.unescape(&mut scratch)?).into_owned();
        cursor.colon()?;
        members.push(MemberFound { name, value: cursor });
        cursor.skip()?;
        more = cursor.next(b'}')?;
    }
    Ok(members)
}

fn list(members: &[MemberFound<'_>]) -> String {
    match members {
        [] => "no members".into(),
        _ if members.iter().all(|member| member.value.peek() == b'n') => {
            format!("only nulls: {}", listed(members.iter().map(|member| member.name.as_str())))
        }
        _ => listed(members.iter().map(|member| member.name.as_str())),
    }
}

//! Rows as binary `COPY` sends them, in blocks that are worth a task.

use futures::{Stream, TryStreamExt, stream};
use sqlx::PgConnection;

use crate::StoreError;

/// Bytes after which a block is handed on: a few hundred rows, so that whoever works on several at once ends with all of them
/// at about the same time, and the cache holds them.
const BLOCK: usize = 1 << 18;
/// What a binary copy begins with: the signature, flags and the length of an extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Bytes of flags and length after the signature.
const HEADER_REST: usize = 8;

/// Whole rows of a statement without parameters, as they were sent. Postgres sends one row a message, so that a block ends between two.
pub async fn read<'c>(
    connection: &'c mut PgConnection,
    select: &str,
) -> Result<impl Stream<Item = Result<Vec<u8>, StoreError>> + use<'c>, StoreError> {
    let statement = format!("COPY ({select}) TO STDOUT (FORMAT binary)");
    let pieces = connection.copy_out_raw(&statement).await?;
    Ok(stream::try_unfold(
        (pieces, true),
        |(mut pieces, is_first)| async move {
            let mut block = Vec::with_capacity(BLOCK + BLOCK / 8);
            let mut is_first = is_first;
            while block.len() < BLOCK {
                let Some(piece) = pieces.try_next().await? else {
                    break;
                };
                let rows = if is_first {
                    is_first = false;
                    piece
                        .strip_prefix(SIGNATURE)
                        .and_then(|rest| rest.get(HEADER_REST..))
                        .ok_or(StoreError::Malformed("copy header"))?
                } else {
                    &piece
                };
                block.extend_from_slice(rows);
            }
            Ok((!block.is_empty()).then_some((block, (pieces, is_first))))
        },
    ))
}

/// Calls `each` with the columns of every row of a block; `None` is null.
pub fn rows<const COLUMNS: usize>(
    block: &[u8],
    mut each: impl FnMut([Option<&[u8]>; COLUMNS]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut rest = block;
    while let Some(count) = take::<2>(&mut rest) {
        // The trailer counts -1 columns.
        if i16::from_be_bytes(count) < 0 {
            return Ok(());
        }
        if usize::try_from(i16::from_be_bytes(count)) != Ok(COLUMNS) {
            return Err(torn());
        }
        let mut columns = [None; COLUMNS];
        for column in &mut columns {
            let length = i32::from_be_bytes(take::<4>(&mut rest).ok_or_else(torn)?);
            if let Ok(length) = usize::try_from(length) {
                let (value, after) = rest.split_at_checked(length).ok_or_else(torn)?;
                *column = Some(value);
                rest = after;
            }
        }
        each(columns)?;
    }
    Ok(())
}

/// Rows that do not have the form of a binary copy. Made where it is needed: letting one go costs as much as reading a column.
const fn torn() -> StoreError {
    StoreError::Malformed("copied row")
}

fn take<const BYTES: usize>(rest: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (value, after) = rest.split_first_chunk::<BYTES>()?;
    *rest = after;
    Some(*value)
}

/// A column of a fixed width.
pub fn fixed<const BYTES: usize>(column: Option<&[u8]>) -> Result<[u8; BYTES], StoreError> {
    column
        .and_then(|value| value.try_into().ok())
        .ok_or_else(|| StoreError::Malformed("copied column"))
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn rows_are_read_to_the_trailer_and_torn_ones_refused() {
        let block = [
            0, 2, 0, 0, 0, 1, 9, 255, 255, 255, 255, // one byte, null
            0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 7, 8, // empty, two bytes
            255, 255,
        ];
        let mut seen = Vec::new();
        rows::<2>(&block, |columns| {
            seen.push(columns.map(|column| column.map(<[u8]>::to_vec)));
            Ok(())
        })
        .expect("rows");
        assert_eq!(
            seen,
            [[Some(vec![9]), None], [Some(Vec::new()), Some(vec![7, 8])]]
        );
        assert!(rows::<2>(&block[..8], |_| Ok(())).is_err());
        assert!(rows::<3>(&block, |_| Ok(())).is_err());
    }
}

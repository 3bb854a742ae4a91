//! The constants of a graph, from its own file or from one beside it.
//!
//! Nothing is allocated that bytes on the disk don't cover, whatever a header claims, and nothing outside the ONNX
//! file's own folder is read.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use half::{bf16, f16};

use super::OnnxError;
use super::proto::{DataLocation, DataType, Tensor};

/// What the elements of a value are, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Float,
    Double,
    /// Any integer.
    Integer,
    Boolean,
    Text,
}

impl Element {
    /// `None` for what weir doesn't compute with, such as complex numbers. Floats of 16 bits are computed in 32, which is
    /// nearer to what they stand for.
    pub(super) fn of(data_type: i32) -> Option<Element> {
        match DataType::try_from(data_type).ok()? {
            DataType::Float | DataType::Float16 | DataType::Bfloat16 => Some(Element::Float),
            DataType::Double => Some(Element::Double),
            DataType::String => Some(Element::Text),
            DataType::Bool => Some(Element::Boolean),
            DataType::Uint8
            | DataType::Int8
            | DataType::Uint16
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Uint32
            | DataType::Uint64 => Some(Element::Integer),
            DataType::Undefined => None,
        }
    }
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    /// Empty for a scalar.
    pub(super) shape: Vec<usize>,
    /// In row-major order.
    pub(super) data: Data,
    pub(super) element: Element,
}

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    /// Floats of either width.
    Numbers(Vec<f64>),
    /// Integers and booleans.
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

impl Array {
    pub(super) fn integers(values: Vec<i64>) -> Array {
        Array { shape: vec![values.len()], data: Data::Integers(values), element: Element::Integer }
    }

    pub(super) fn texts(values: Vec<String>) -> Array {
        Array { shape: vec![values.len()], data: Data::Texts(values), element: Element::Text }
    }

    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Numbers(values) => values.len(),
            Data::Integers(values) => values.len(),
            Data::Texts(values) => values.len(),
        }
    }

    /// The elements as numbers, if they are.
    pub(super) fn numbers(&self) -> Result<Vec<f64>, String> {
        match &self.data {
            Data::Numbers(values) => Ok(values.clone()),
            Data::Integers(values) => Ok(values.iter().map(|&value| value as f64).collect()),
            Data::Texts(_) => Err("a constant is text where numbers are needed".into()),
        }
    }

    /// The one element, if it has no more than one.
    pub(super) fn scalar(&self) -> Option<f64> {
        if self.len() != 1 {
            return None;
        }
        self.numbers().ok()?.first().copied()
    }

    /// The elements as integers, if they are.
    pub(super) fn as_integers(&self) -> Result<&[i64], String> {
        match &self.data {
            Data::Integers(values) => Ok(values),
            _ => Err("a constant is no integer where sizes or indices are needed".into()),
        }
    }

    /// The elements as the names of classes or categories.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.data {
            Data::Numbers(values) => values.iter().map(f64::to_string).collect(),
            Data::Integers(values) => values.iter().map(i64::to_string).collect(),
            Data::Texts(values) => values.clone(),
        }
    }
}

/// Reads tensors of one ONNX file.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    /// The folder that the file is in.
    folder: PathBuf,
}

impl Reader {
    pub(super) fn new(file: &Path) -> Reader {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Reader { folder: folder.to_owned() }
    }

    /// The constant that a tensor is.
    pub(super) fn read(&self, tensor: &Tensor) -> Result<Array, OnnxError> {
        let invalid = |reason: String| OnnxError::Tensor { name: tensor.name.clone(), reason };
        let (shape, count) = shape(&tensor.dims).map_err(invalid)?;
        let data_type = DataType::try_from(tensor.data_type).unwrap_or(DataType::Undefined);
        let Some(element) = Element::of(tensor.data_type) else {
            return Err(invalid(format!(
                "elements of type {} can't be read: export the model in float or double",
                tensor.data_type
            )));
        };
        let data = if tensor.data_location == DataLocation::External as i32 {
            let size = width(data_type).ok_or_else(|| invalid("texts can't be in another file".into()))?;
            let expected = count.checked_mul(size).ok_or_else(|| invalid(format!("{count} elements are too many")))?;
            from_bytes(data_type, &self.external(tensor, expected).map_err(invalid)?)
        } else if !tensor.raw_data.is_empty() {
            let size = width(data_type).ok_or_else(|| invalid("texts can't be raw data".into()))?;
            if count.checked_mul(size) != Some(tensor.raw_data.len()) {
                let found = tensor.raw_data.len();
                return Err(invalid(format!("{found} bytes for {count} elements of {size} bytes")));
            }
            from_bytes(data_type, &tensor.raw_data)
        } else {
            typed(tensor, data_type).map_err(invalid)?
        };
        let array = Array { shape, data, element };
        if array.len() != count {
            return Err(invalid(format!("{} elements where its shape has {count}", array.len())));
        }
        Ok(array)
    }

    /// The bytes of a tensor that are in another file.
    fn external(&self, tensor: &Tensor, expected: usize) -> Result<Vec<u8>, String> {
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
        let number = |key: &str| match entry(key).map(str::parse::<u64>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(format!("the {key} of its data is no number")),
        };
        let location = entry("location").ok_or("it doesn't say in which file its data is")?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        if length.is_some_and(|length| length != expected as u64) {
            return Err(format!("its data in {location:?} should have {expected} bytes"));
        }
        let path = self.inside(location)?;
        let cannot_read = |error: std::io::Error| format!("its data in {} can't be read: {error}", path.display());
        // Looked at before it is opened: opening a FIFO waits for its writer.
        let metadata = fs::metadata(&path).map_err(cannot_read)?;
        if !metadata.is_file() {
            return Err(format!(
                "{} is no regular file: copy the file with its data beside the ONNX file",
                path.display()
            ));
        }
        let mut file = File::open(&path).map_err(cannot_read)?;
        let has_all = offset.checked_add(expected as u64).is_some_and(|end| end <= metadata.len());
        if !has_all {
            return Err(format!(
                "{} has {} bytes, {expected} from {offset} on are needed: copy the whole file beside the ONNX file",
                path.display(),
                metadata.len()
            ));
        }
        let mut bytes = vec![0; expected];
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes)).map_err(cannot_read)?;
        Ok(bytes)
    }

    /// The path of a file that must be in this folder, links followed.
    fn inside(&self, location: &str) -> Result<PathBuf, String> {
        let relative = Path::new(location);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !plain {
            return Err(format!("its data is in {location:?}, which is not in the ONNX file's own folder"));
        }
        let cannot_find = |error: std::io::Error| {
            format!("its data in {location:?} can't be read: {error}; copy that file beside the ONNX file")
        };
        let folder = self.folder.canonicalize().map_err(cannot_find)?;
        let path = folder.join(relative).canonicalize().map_err(cannot_find)?;
        if !path.starts_with(&folder) {
            return Err(format!("its data in {location:?} is a link out of the ONNX file's own folder"));
        }
        Ok(path)
    }
}

/// The dimensions and how many elements they make.
fn shape(dims: &[i64]) -> Result<(Vec<usize>, usize), String> {
    let shape: Vec<usize> = dims
        .iter()
        .map(|&dim| usize::try_from(dim).map_err(|_| format!("the dimension {dim} can't be")))
        .collect::<Result<_, _>>()?;
    let count = shape.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
    let count = count.ok_or_else(|| format!("the shape {dims:?} has more elements than there can be"))?;
    Ok((shape, count))
}

/// Bytes per element; `None` for texts.
fn width(data_type: DataType) -> Option<usize> {
    match data_type {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => Some(1),
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => Some(2),
        DataType::Float | DataType::Int32 | DataType::Uint32 => Some(4),
        DataType::Double | DataType::Int64 | DataType::Uint64 => Some(8),
        DataType::String | DataType::Undefined => None,
    }
}

/// Elements from little-endian bytes; bytes that fill no element are left.
fn from_bytes(data_type: DataType, bytes: &[u8]) -> Data {
    fn each<const N: usize, T>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks().0.iter().map(|&chunk| element(chunk)).collect()
    }
    match data_type {
        DataType::Float => Data::Numbers(each(bytes, |chunk| f64::from(f32::from_le_bytes(chunk)))),
        DataType::Double => Data::Numbers(each(bytes, f64::from_le_bytes)),
        DataType::Uint8 | DataType::Bool => Data::Integers(each(bytes, |chunk| i64::from(u8::from_le_bytes(chunk)))),
        DataType::Int8 => Data::Integers(each(bytes, |chunk| i64::from(i8::from_le_bytes(chunk)))),
        DataType::Uint16 => Data::Integers(each(bytes, |chunk| i64::from(u16::from_le_bytes(chunk)))),
        DataType::Int16 => Data::Integers(each(bytes, |chunk| i64::from(i16::from_le_bytes(chunk)))),
        DataType::Uint32 => Data::Integers(each(bytes, |chunk| i64::from(u32::from_le_bytes(chunk)))),
        DataType::Int32 => Data::Integers(each(bytes, |chunk| i64::from(i32::from_le_bytes(chunk)))),
        // Beyond i64's range no size, index or label makes sense.
        DataType::Int64 | DataType::Uint64 => Data::Integers(each(bytes, i64::from_le_bytes)),
        DataType::Float16 => Data::Numbers(each(bytes, |chunk| f16::from_le_bytes(chunk).to_f64())),
        DataType::Bfloat16 => Data::Numbers(each(bytes, |chunk| bf16::from_le_bytes(chunk).to_f64())),
        DataType::String | DataType::Undefined => Data::Texts(Vec::new()),
    }
}

/// Elements from the field of their type.
fn typed(tensor: &Tensor, data_type: DataType) -> Result<Data, String> {
    Ok(match data_type {
        DataType::Float => Data::Numbers(tensor.float_data.iter().map(|&value| f64::from(value)).collect()),
        DataType::Double => Data::Numbers(tensor.double_data.clone()),
        DataType::Int64 => Data::Integers(tensor.int64_data.clone()),
        // The bits of each are the lower half of an integer.
        DataType::Float16 | DataType::Bfloat16 => {
            let bytes: Vec<u8> = tensor.int32_data.iter().flat_map(|&bits| (bits as u16).to_le_bytes()).collect();
            from_bytes(data_type, &bytes)
        }
        DataType::String => {
            let texts = tensor.string_data.iter().map(|bytes| text(bytes));
            Data::Texts(texts.collect::<Result<_, _>>()?)
        }
        _ => Data::Integers(tensor.int32_data.iter().map(|&value| i64::from(value)).collect()),
    })
}

/// A text of the file, which has to be UTF-8.
pub(super) fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

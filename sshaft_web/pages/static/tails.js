// Finds the incomplete character or control sequence at the end of output.

const ESC = 0x1b;
export const LONGEST_TAIL = 4096;

/**
 * Returns how many of the last bytes begin something that is not complete. The terminal shows nothing of them yet, so
 * a page that goes on elsewhere must be sent them again.
 */
export function incompleteTail(bytes) {
  const escape = bytes.lastIndexOf(ESC);
  if (escape >= 0 && !isComplete(bytes.subarray(escape))) return bytes.length - escape;
  return incompleteCharacter(bytes);
}

function incompleteCharacter(bytes) {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back];
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0;
  }
  return 0;
}

// ECMA-48: CSI ends with @ to ~; a string ends with ST or BEL; others are ESC, intermediates, one final byte.
function isComplete(sequence) {
  const kind = String.fromCharCode(sequence[1] ?? 0);
  const body = sequence.subarray(2);
  if (kind === "[") return body.some((byte) => byte >= 0x40 && byte <= 0x7e);
  if ("]P_^X".includes(kind)) return body.includes(0x07);
  return sequence.subarray(1).some((byte) => byte >= 0x30);
}

// What network servers give to payload codecs beside the language: Buffer, atob, btoa, TextDecoder, TextEncoder, console,
// and module.exports for codecs that were written as modules of Node. Loaded before a maker's codec.
(function (global) {
  'use strict';
  const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

  function define(name, value) {
    Object.defineProperty(global, name, {value: value, writable: true, configurable: true, enumerable: false});
  }

  function fromBase64(text) {
    const clean = String(text).replace(/-/g, '+').replace(/_/g, '/').replace(/[^A-Za-z0-9+/]/g, '');
    const bytes = [];
    let bits = 0, count = 0;
    for (let i = 0; i < clean.length; i++) {
      bits = ((bits << 6) | ALPHABET.indexOf(clean[i])) & 0xffffff;
      count += 6;
      if (count >= 8) {
        count -= 8;
        bytes.push((bits >> count) & 0xff);
      }
    }
    return bytes;
  }

  function toBase64(bytes) {
    let text = '';
    for (let i = 0; i < bytes.length; i += 3) {
      const group = (bytes[i] << 16) | ((bytes[i + 1] || 0) << 8) | (bytes[i + 2] || 0);
      text += ALPHABET[group >> 18] + ALPHABET[(group >> 12) & 63];
      text += i + 1 < bytes.length ? ALPHABET[(group >> 6) & 63] : '=';
      text += i + 2 < bytes.length ? ALPHABET[group & 63] : '=';
    }
    return text;
  }

  function toUtf8(text) {
    const bytes = [];
    for (const letter of String(text)) {
      const code = letter.codePointAt(0);
      if (code < 0x80) bytes.push(code);
      else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
      else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
      else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    }
    return bytes;
  }

  function fromUtf8(bytes) {
    let text = '';
    for (let i = 0; i < bytes.length; ) {
      const first = bytes[i++];
      let more = first < 0x80 ? 0 : first >= 0xf0 && first < 0xf8 ? 3 : first >= 0xe0 ? 2 : first >= 0xc2 ? 1 : -1;
      let code = more <= 0 ? first : first & (0x3f >> more);
      if (more < 0 || first >= 0xf8) { text += '\ufffd'; continue; }
      while (more > 0 && i < bytes.length && (bytes[i] & 0xc0) === 0x80) { code = (code << 6) | (bytes[i++] & 63); more--; }
      text += more > 0 || code > 0x10ffff ? '\ufffd' : String.fromCodePoint(code);
    }
    return text;
  }

  function latin(bytes) {
    let text = '';
    for (const byte of bytes) text += String.fromCharCode(byte);
    return text;
  }

  function fromText(text, encoding) {
    switch (String(encoding || 'utf8').toLowerCase()) {
      case 'hex': return (String(text).match(/[0-9a-f]{2}/gi) || []).map(pair => parseInt(pair, 16));
      case 'base64': case 'base64url': return fromBase64(text);
      case 'latin1': case 'binary': case 'ascii': return Array.from(String(text), letter => letter.charCodeAt(0) & 0xff);
      default: return toUtf8(text);
    }
  }

  class Buffer extends Uint8Array {
    static from(value, encoding, length) {
      if (typeof value === 'string') value = fromText(value, encoding);
      else if (value instanceof ArrayBuffer) return new Buffer(value, encoding, length);
      else if (value && value.type === 'Buffer' && Array.isArray(value.data)) value = value.data;
      const buffer = new Buffer(value.length);
      for (let i = 0; i < value.length; i++) buffer[i] = value[i] & 0xff;
      return buffer;
    }
    static alloc(size, fill) { const buffer = new Buffer(size); if (fill) buffer.fill(fill); return buffer; }
    static allocUnsafe(size) { return new Buffer(size); }
    static isBuffer(value) { return value instanceof Buffer; }
    static byteLength(text, encoding) { return fromText(text, encoding).length; }
    static concat(parts) { return Buffer.from(parts.reduce((all, part) => all.concat(Array.from(part)), [])); }
    slice(start, end) { return this.subarray(start, end); }
    equals(other) { return this.length === other.length && this.every((byte, i) => byte === other[i]); }
    copy(target, at, start, end) { const part = this.subarray(start || 0, end); target.set(part, at || 0); return part.length; }
    toJSON() { return {type: 'Buffer', data: Array.from(this)}; }
    toString(encoding, start, end) {
      const part = this.subarray(start || 0, end);
      switch (String(encoding || 'utf8').toLowerCase()) {
        case 'hex': return Array.from(part, byte => byte.toString(16).padStart(2, '0')).join('');
        case 'base64': return toBase64(part);
        case 'base64url': return toBase64(part).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');
        case 'latin1': case 'binary': return latin(part);
        case 'ascii': return latin(part.map(byte => byte & 0x7f));
        default: return fromUtf8(part);
      }
    }
    readUIntBE(at, size) { let value = 0; for (let i = 0; i < size; i++) value = value * 256 + byteOf(this, at + i); return value; }
    readUIntLE(at, size) { let value = 0; for (let i = size - 1; i >= 0; i--) value = value * 256 + byteOf(this, at + i); return value; }
    readIntBE(at, size) { return signed(this.readUIntBE(at, size), size); }
    readIntLE(at, size) { return signed(this.readUIntLE(at, size), size); }
  }

  function byteOf(buffer, at) {
    if (!(at >= 0 && at < buffer.length)) throw new RangeError('The offset ' + at + ' is out of range: ' + buffer.length + ' bytes');
    return buffer[at];
  }

  function signed(value, size) {
    const half = Math.pow(2, 8 * size - 1);
    return value >= half ? value - 2 * half : value;
  }

  function reader(name, size, method, little) {
    const read = function (at) {
      at = at || 0;
      byteOf(this, at + size - 1);
      return new DataView(this.buffer, this.byteOffset, this.byteLength)[method](at, little);
    };
    const write = function (value, at) {
      at = at || 0;
      new DataView(this.buffer, this.byteOffset, this.byteLength)[method.replace('get', 'set')](at, value, little);
      return at + size;
    };
    for (const spelled of [name, name.replace('UInt', 'Uint')]) {
      Buffer.prototype['read' + spelled] = read;
      Buffer.prototype['write' + spelled] = write;
    }
  }

  reader('UInt8', 1, 'getUint8', false);
  reader('Int8', 1, 'getInt8', false);
  for (const [order, little] of [['BE', false], ['LE', true]]) {
    reader('UInt16' + order, 2, 'getUint16', little);
    reader('Int16' + order, 2, 'getInt16', little);
    reader('UInt32' + order, 4, 'getUint32', little);
    reader('Int32' + order, 4, 'getInt32', little);
    reader('Float' + order, 4, 'getFloat32', little);
    reader('Double' + order, 8, 'getFloat64', little);
    reader('BigUInt64' + order, 8, 'getBigUint64', little);
    reader('BigInt64' + order, 8, 'getBigInt64', little);
  }

  class TextDecoder {
    constructor(encoding) { this.encoding = String(encoding || 'utf-8').toLowerCase(); }
    decode(bytes) {
      const view = bytes === undefined ? [] : bytes instanceof ArrayBuffer ? new Uint8Array(bytes) : bytes;
      return /^(utf-?8)$/.test(this.encoding) ? fromUtf8(view) : latin(view);
    }
  }

  class TextEncoder {
    encode(text) { return Uint8Array.from(toUtf8(text === undefined ? '' : text)); }
  }

  const silent = function () {};
  define('Buffer', Buffer);
  define('TextDecoder', TextDecoder);
  define('TextEncoder', TextEncoder);
  define('atob', text => latin(fromBase64(text)));
  define('btoa', text => toBase64(fromText(text, 'latin1')));
  define('console', {log: silent, info: silent, warn: silent, error: silent, debug: silent, trace: silent});
  define('module', {exports: {}});
  define('exports', global.module.exports);
})(globalThis);

function decodeUplink(input) {
  return {data: {temperature: ((input.bytes[0] << 8) | input.bytes[1]) / 10, port: input.fPort}, warnings: []};
}

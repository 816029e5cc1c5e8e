"""A client of MQTT 3.1.1 for MicroPython with the interface of umqtt.simple.

Waiting has an end: OSError after `timeout` seconds.
"""

import socket


class MQTTException(Exception):
    pass


class MQTTClient:
    def __init__(self, client_id, server, port=0, user=None, password=None, keepalive=0, ssl=None, timeout=10):
        self.client_id = client_id
        self.server = server
        self.port = port or (8883 if ssl else 1883)
        self.user = user
        self.password = password
        self.keepalive = keepalive
        self.ssl = ssl  # an ssl.SSLContext
        self.timeout = timeout  # seconds
        self.sock = None
        self.pid = 0
        self.cb = None

    def connect(self, clean_session=True):
        """Raises OSError, or MQTTException where the broker says no."""
        self.sock = socket.socket()
        self.sock.settimeout(self.timeout)
        self.sock.connect(socket.getaddrinfo(self.server, self.port)[0][-1])
        if self.ssl:
            self.sock = self.ssl.wrap_socket(self.sock, server_hostname=self.server)
        flags = (0x02 if clean_session else 0) | (0xC0 if self.user else 0)
        body = b"\x00\x04MQTT\x04" + bytes([flags, self.keepalive >> 8, self.keepalive & 0xFF]) + _text(self.client_id)
        if self.user:
            body += _text(self.user) + _text(self.password)
        self._send(0x10, body)
        kind, answer = self._read_packet()
        if kind != 0x20 or answer[1]:
            raise MQTTException(answer[1] if kind == 0x20 else kind)
        return answer[0] & 1

    def disconnect(self):
        try:
            self._send(0xE0, b"")
        except OSError:
            pass
        self.sock.close()

    def ping(self):
        self._send(0xC0, b"")

    def set_callback(self, f):
        self.cb = f

    def publish(self, topic, msg, retain=False, qos=0):
        """At QoS 1, returns when the message is acknowledged; raises OSError where it is not within `timeout`."""
        if qos == 0:
            self._send(0x30 | retain, _text(topic) + _bytes(msg))
            return
        self.pid = self.pid % 65535 + 1
        number = bytes([self.pid >> 8, self.pid & 0xFF])
        self._send(0x32 | retain, _text(topic) + number + _bytes(msg))
        while True:
            kind, answer = self._read_packet()
            if kind == 0x40 and answer == number:
                return
            self._handle(kind, answer)

    def subscribe(self, topic, qos=0):
        self.pid = self.pid % 65535 + 1
        number = bytes([self.pid >> 8, self.pid & 0xFF])
        self._send(0x82, number + _text(topic) + bytes([qos]))
        while True:
            kind, answer = self._read_packet()
            if kind == 0x90:
                if answer[2] == 0x80:
                    raise MQTTException(answer[2])
                return
            self._handle(kind, answer)

    def wait_msg(self):
        """Wait for a message and give it to the callback."""
        kind, body = self._read_packet()
        self._handle(kind, body)
        return kind

    def check_msg(self):
        """The same if there is one; None if not."""
        self.sock.settimeout(0)
        try:
            first = self.sock.recv(1)
        except OSError:
            return None
        finally:
            self.sock.settimeout(self.timeout)
        if not first:
            raise OSError(-1)
        kind, body = self._read_packet(first)
        self._handle(kind, body)
        return kind

    def _handle(self, kind, body):
        if kind & 0xF0 != 0x30:
            return
        end = 2 + (body[0] << 8 | body[1])
        topic, body = body[2:end], body[end:]
        if kind & 6:
            number, body = body[:2], body[2:]
            self._send(0x40, number)
        if self.cb:
            self.cb(topic, body)

    def _send(self, first, body):
        length, rest = b"", len(body)
        while True:
            length += bytes([rest & 0x7F | (0x80 if rest > 0x7F else 0)])
            rest >>= 7
            if not rest:
                break
        data = bytes([first]) + length + body
        while data:
            data = data[self.sock.send(data) :]

    def _read_packet(self, first=b""):
        kind = (first or self._read(1))[0]
        length = shift = 0
        while True:
            byte = self._read(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return kind, self._read(length)

    def _read(self, count):
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise OSError(-1)
            data += part
        return data


def _bytes(value):
    return value.encode() if isinstance(value, str) else value


def _text(value):
    value = _bytes(value)
    return bytes([len(value) >> 8, len(value) & 0xFF]) + value

// A stand-in for the library "MQTT" by Joel Gaehwiler, with the calls that the example uses: publish() at QoS 1 is true
// when PUBACK has come. MQTT 3.1.1 over the computer's sockets.
#pragma once
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "Arduino.h"
#include "WiFi.h"

class MQTTClient {
 public:
  explicit MQTTClient(int bytes) : most_(bytes) {}
  void begin(const char* host, int port, WiFiClient&) {
    host_ = host;
    port_ = std::to_string(port);
  }
  void setOptions(int keepAlive, bool cleanSession, int timeout) {
    keepAlive_ = keepAlive;
    clean_ = cleanSession;
    timeout_ = timeout;
  }
  bool connected() const { return socket_ >= 0; }
  bool loop() { return connected(); }

  bool connect(const char* client, const char* user, const char* password) {
    hangUp();
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host_.c_str(), port_.c_str(), &hints, &found) != 0) return false;
    int connection = socket(found->ai_family, found->ai_socktype, 0);
    bool there = ::connect(connection, found->ai_addr, found->ai_addrlen) == 0;
    freeaddrinfo(found);
    if (!there) {
      close(connection);
      return false;
    }
    timeval wait{timeout_ / 1000, timeout_ % 1000 * 1000};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    socket_ = connection;
    std::string body = text("MQTT") + '\x04' + char(0xC0 | clean_ << 1) + char(keepAlive_ >> 8) + char(keepAlive_ & 0xFF);
    if (send(0x10, body + text(client) + text(user) + text(password)) && read() == std::string("\x20\x02\x00\x00", 4)) return true;
    hangUp();
    return false;
  }

  bool publish(const char* topic, const char* payload, bool retained, int qos) {
    number_ = number_ % 65535 + 1;
    std::string number{char(number_ >> 8), char(number_ & 0xFF)};
    std::string body = text(topic) + (qos ? number : "") + payload;
    if (int(body.size()) + 5 > most_) return false;
    if (send(0x30 | qos << 1 | retained, body) && (!qos || read() == "\x40\x02" + number)) return true;
    hangUp();
    return false;
  }

 private:
  static std::string text(const std::string& value) {
    return std::string{char(value.size() >> 8), char(value.size() & 0xFF)} + value;
  }
  bool send(int first, const std::string& body) {
    std::string packet(1, char(first));
    size_t rest = body.size();
    do {
      packet += char((rest & 0x7F) | (rest > 0x7F ? 0x80 : 0));
      rest >>= 7;
    } while (rest);
    packet += body;
    return ::send(socket_, packet.data(), packet.size(), MSG_NOSIGNAL) == ssize_t(packet.size());
  }
  std::string read() {  // a packet of four bytes, as CONNACK and PUBACK are
    char packet[4];
    return recv(socket_, packet, 4, MSG_WAITALL) == 4 ? std::string(packet, 4) : "";
  }
  void hangUp() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }
  int most_, socket_ = -1, keepAlive_ = 10, timeout_ = 1000, number_ = 0;
  bool clean_ = true;
  std::string host_, port_;
};

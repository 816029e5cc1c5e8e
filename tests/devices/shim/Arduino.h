// A stand-in for the Arduino core, as far as examples/devices/arduino uses it: files, time and text of the computer.
#pragma once
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

class String {
 public:
  String(const char* text = "") : text_(text) {}
  explicit String(unsigned long number) : text_(std::to_string(number)) {}
  size_t length() const { return text_.size(); }
  const char* c_str() const { return text_.c_str(); }
  long toInt() const { return std::atol(text_.c_str()); }
  void trim() {
    const char* blank = " \t\r\n";
    text_.erase(text_.find_last_not_of(blank) + 1);
    text_.erase(0, text_.find_first_not_of(blank));
  }
  void append(char character) { text_ += character; }

 private:
  std::string text_;
};

struct SerialPort {
  void begin(long) {}
  void println(const char* text) {
    std::printf("%s\n", text);
    std::fflush(stdout);
  }
};
static SerialPort Serial;

inline unsigned long millis() {
  using namespace std::chrono;
  static const auto begun = steady_clock::now();
  return duration_cast<milliseconds>(steady_clock::now() - begun).count();
}
inline void delay(unsigned long milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }
inline void configTime(long, int, const char*) {}
inline int analogRead(int) { return 215; }

void setup();
void loop();
int main() {
  setup();
  while (true) loop();
}
